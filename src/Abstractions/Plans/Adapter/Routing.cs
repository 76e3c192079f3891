using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>How the heads of a layer are mixed; in JSON its rule's name, with the values of a rule that has some.</summary>
[JsonConverter(typeof(RuleName))]
public abstract record Routing : IAdapterPart
{
    /// <summary>The rule's name in a plan.</summary>
    public abstract string Rule { get; }

    /// <inheritdoc/>
    public virtual IReadOnlyList<TensorRole> Roles => [];

    /// <inheritdoc/>
    public virtual string? KeepsOffEmbeddings => null;

    /// <summary>Whether the mix is the same for every input, so that the adapter merges and exports exactly.</summary>
    public virtual bool IsStatic => true;

    /// <inheritdoc/>
    public virtual IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => [];

    /// <summary>Whether it has values beside its name.</summary>
    internal bool HasValues => Values.Any();

    // What a rule declares itself; what it overrides is no value.
    private IEnumerable<PropertyInfo> Values => GetType()
        .GetProperties(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)
        .Where(static property => property.GetMethod is { } get && get == get.GetBaseDefinition());

    /// <summary>The head of the client's own task. A client has one task, so this is one head: plain LoRA.</summary>
    public sealed record ByTask : Routing
    {
        /// <inheritdoc/>
        public override string Rule => "byTask";

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            if (spec.Heads > 1)
            {
                yield return new(
                    $"byTask gives a client one head, the plan asks for {spec.Heads}; give heads: 1, or routing: mean, sum or softmax.",
                    "adapter.routing", "adapter.heads");
            }
        }
    }

    /// <summary>The mean of all heads.</summary>
    public sealed record Mean : Routing
    {
        /// <inheritdoc/>
        public override string Rule => "mean";
    }

    /// <summary>The sum of all heads.</summary>
    public sealed record Sum : Routing
    {
        /// <inheritdoc/>
        public override string Rule => "sum";
    }

    /// <summary>Dense softmax over a linear router of the layer input, per token (R-LoRA, HydraLoRA).</summary>
    public sealed record Softmax : Routing
    {
        /// <summary>The router, <c>[N, D_in]</c>.</summary>
        public const string Router = "router";

        private static readonly TensorRole[] Tensors =
            [new(Router, new()) { Summary = "the router's weights", Shape = "[heads, inputs]", ComesWith = "routing: softmax" }];

        /// <inheritdoc/>
        public override string Rule => "softmax";

        /// <inheritdoc/>
        public override IReadOnlyList<TensorRole> Roles => Tensors;

        /// <inheritdoc/>
        public override string? KeepsOffEmbeddings => "a router";

        /// <inheritdoc/>
        public override bool IsStatic => false;

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            if (spec.Heads == 1)
            {
                yield return new(
                    "softmax over one head is constant; give heads: 2 or more, or routing: byTask.", "adapter.routing", "adapter.heads");
            }
        }
    }

    private sealed class RuleName : JsonConverter<Routing>
    {
        public override Routing Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            throw new NotSupportedException("a routing is read from a plan");

        public override void Write(Utf8JsonWriter writer, Routing value, JsonSerializerOptions options)
        {
            var values = value.Values.ToList();
            if (values.Count == 0)
            {
                writer.WriteStringValue(value.Rule);
                return;
            }

            writer.WriteStartObject();
            writer.WriteStartObject(value.Rule);
            foreach (var property in values)
            {
                writer.WritePropertyName(JsonNamingPolicy.CamelCase.ConvertName(property.Name));
                JsonSerializer.Serialize(writer, property.GetValue(value), property.PropertyType, options);
            }

            writer.WriteEndObject();
            writer.WriteEndObject();
        }
    }
}
