using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Report;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace FedRLora.ControlPlane.Http;

/// <summary>What the OpenAPI document says beside the routes: what it is of, and how callers sign in.</summary>
internal static class Document
{
    private const string Bearer = "token";

    public static void Configure(OpenApiOptions options)
    {
        options.AddDocumentTransformer(static (document, _, _) =>
        {
            document.Info = new OpenApiInfo
            {
                Title = "FedRLora control plane", Version = ReportFacts.VersionOf(typeof(Document)),
                Description = "Runs of a cluster, answered by any of its silos. Objects are those of docs/json.md. Pages for browsers "
                    + "(/, which /enter lets one into) and /metrics for Prometheus are no part of this document.",
            };
            document.Servers = []; // whoever reads the document knows where it came from
            document.Components ??= new OpenApiComponents();
            document.Components.SecuritySchemes = new Dictionary<string, IOpenApiSecurityScheme>
            {
                [Bearer] = new OpenApiSecurityScheme
                {
                    Type = SecuritySchemeType.Http, Scheme = "bearer", Description = "The token of the silo's token file",
                },
            };
            return Task.CompletedTask;
        });
        options.AddOperationTransformer(static (operation, context, _) =>
        {
            var route = context.Description.ActionDescriptor.EndpointMetadata.OfType<ControlRoute>().Single();
            if (route.Policy != Policy.Anyone)
                operation.Security = [new() { [new OpenApiSecuritySchemeReference(Bearer, context.Document)] = [] }];
            return Task.CompletedTask;
        });
        // their converter, which writes null where there is no finite number, hides what they are
        options.AddSchemaTransformer(static (schema, context, _) =>
        {
            if (context.JsonTypeInfo.Type == typeof(double) || context.JsonTypeInfo.Type == typeof(double?))
                (schema.Type, schema.Format) = (JsonSchemaType.Number | JsonSchemaType.Null, "double");
            return Task.CompletedTask;
        });
    }
}
