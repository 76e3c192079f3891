using System.Diagnostics;

namespace FedRLora.Grains.Tests.Control;

/// <summary>The OpenAPI document, by tools that other people made: a validator, and a generator whose client runs a run.</summary>
public sealed class OpenApiTests : IDisposable
{
    private readonly string _scratch = Directory.CreateTempSubdirectory("fedrlora-openapi-").FullName;

    public void Dispose() => Directory.Delete(_scratch, recursive: true);

    [OpenApiToolsFact]
    public async Task A_client_made_of_the_document_submits_a_run_and_watches_it_to_its_end()
    {
        await using var silos = await ControlledFederation.StartAsync();
        var (document, plan) = (Path.Combine(_scratch, "openapi.json"), Path.Combine(_scratch, "plan.yaml"));
        await File.WriteAllTextAsync(document, await silos.Viewer.GetStringAsync("/openapi/v1.json"));
        await File.WriteAllTextAsync(plan, TestFederation.Plan(rounds: 4));
        using var node = Process.Start(new ProcessStartInfo("node",
            [Path.Combine(OpenApiToolsFactAttribute.Folder, "client.mjs"), document, $"{silos.Servers[0].Address}".TrimEnd('/'),
                silos.TokenFile, plan, _scratch])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        var (output, error) = (node.StandardOutput.ReadToEndAsync(), node.StandardError.ReadToEndAsync());
        await node.WaitForExitAsync(new CancellationTokenSource(TimeSpan.FromMinutes(2)).Token);

        Assert.Equal("", await error);
        Assert.Matches("^valid 3\\.[0-9.]+ [0-9]+\nsubmitted test 201\nfinished rounds 0,1,2,3,4\n$", await output);
        Assert.Equal(0, node.ExitCode);
    }

    [Fact]
    public async Task Each_route_is_described_with_what_it_does_and_how_callers_sign_in()
    {
        await using var silos = await ControlledFederation.StartAsync();
        var document = await silos.Viewer.GetAsync("/openapi/v1.json").ReadAsync();

        var operations = document.GetProperty("paths").EnumerateObject().SelectMany(static path => path.Value.EnumerateObject()).ToList();
        Assert.NotEmpty(operations);
        Assert.All(operations, static operation =>
        {
            Assert.NotEmpty(operation.Value.GetProperty("operationId").GetString()!);
            Assert.NotEmpty(operation.Value.GetProperty("summary").GetString()!);
            var isProbe = operation.Value.GetProperty("tags")[0].GetString() == "server";
            Assert.Equal(!isProbe, operation.Value.TryGetProperty("security", out _));
        });
        Assert.Equal("bearer",
            document.GetProperty("components").GetProperty("securitySchemes").GetProperty("token").GetProperty("scheme").GetString());
    }
}

/// <summary>A test that needs node and the packages of tests/openapi; skipped with the reason where they are not there.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class OpenApiToolsFactAttribute : FactAttribute
{
    public OpenApiToolsFactAttribute()
    {
        if (!Directory.Exists(Path.Combine(Folder, "node_modules"))) Skip = "the packages of tests/openapi are not installed";
    }

    internal static string Folder { get; } = Find();

    private static string Find()
    {
        for (var folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (File.Exists(Path.Combine(folder, "FedRLora.sln"))) return Path.Combine(folder, "tests", "openapi");
        }

        throw new InvalidOperationException("The tests are not in the repository.");
    }
}
