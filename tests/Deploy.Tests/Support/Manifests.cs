using System.Text.Json.Nodes;
using k8s;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.Serialization;

namespace FedRLora.Deploy.Tests;

/// <summary>Documents of Kubernetes, read in two ways: strictly into the types of their kinds, and as trees.</summary>
internal static class Manifests
{
    private static readonly Dictionary<string, Type> Custom = new()
    {
        ["cert-manager.io/v1/Certificate"] = typeof(Certificate),
        ["monitoring.coreos.com/v1/PodMonitor"] = typeof(PodMonitor),
        ["monitoring.coreos.com/v1/PrometheusRule"] = typeof(PrometheusRule),
    };

    /// <summary>Every document as the type of its kind; a key or a value that the type does not have is an error.</summary>
    public static List<object> Typed(string yaml) => KubernetesYaml.LoadAllFromString(yaml, Custom, strict: true);

    /// <summary>Every document as a tree.</summary>
    public static List<JsonObject> Trees(string yaml)
    {
        var deserializer = new DeserializerBuilder().WithAttemptingUnquotedStringTypeDeserialization().WithDuplicateKeyChecking().Build();
        var serializer = new SerializerBuilder().JsonCompatible().Build();
        var parser = new Parser(new StringReader(yaml));
        parser.TryConsume<StreamStart>(out _);
        var documents = new List<JsonObject>();
        while (parser.Accept<DocumentStart>(out _))
        {
            if (deserializer.Deserialize<object?>(parser) is { } document)
                documents.Add(JsonNode.Parse(serializer.Serialize(document))!.AsObject());
        }

        return documents;
    }

    /// <summary>Documents in one order, whatever made them.</summary>
    public static List<string> Sorted(string yaml) =>
        [.. Trees(yaml).Select(static tree => Ordered(tree)!.ToJsonString()).Order(StringComparer.Ordinal)];

    private static JsonNode? Ordered(JsonNode? node) => node switch
    {
        JsonObject map => new JsonObject(map.OrderBy(static pair => pair.Key, StringComparer.Ordinal)
            .Select(static pair => KeyValuePair.Create(pair.Key, Ordered(pair.Value)))),
        JsonArray list => new JsonArray([.. list.Select(Ordered)]),
        _ => node?.DeepClone(),
    };
}
