using k8s;
using k8s.Models;

namespace FedRLora.Deploy.Tests;

// The kinds of others that the chart makes, with the keys that it may use: cert-manager.io/docs/reference/api-docs and
// prometheus-operator.dev/docs/api-reference. Strict reading refuses every other key.

internal abstract class CustomResource<TSpec> : IKubernetesObject<V1ObjectMeta>
{
    public string ApiVersion { get; set; } = "";

    public string Kind { get; set; } = "";

    public V1ObjectMeta Metadata { get; set; } = new();

    public TSpec? Spec { get; set; }
}

internal sealed class Certificate : CustomResource<Certificate.Of>
{
    public sealed class Of
    {
        public string? SecretName { get; set; }

        public string? Duration { get; set; }

        public string? RenewBefore { get; set; }

        public Key? PrivateKey { get; set; }

        public List<string>? Usages { get; set; }

        public List<string>? DnsNames { get; set; }

        public Issuer? IssuerRef { get; set; }
    }

    public sealed class Key
    {
        public string? Algorithm { get; set; }

        public int? Size { get; set; }

        public string? RotationPolicy { get; set; }
    }

    public sealed class Issuer
    {
        public string? Name { get; set; }

        public string? Kind { get; set; }

        public string? Group { get; set; }
    }
}

internal sealed class PodMonitor : CustomResource<PodMonitor.Of>
{
    public sealed class Of
    {
        public V1LabelSelector? Selector { get; set; }

        public List<Endpoint>? PodMetricsEndpoints { get; set; }
    }

    public sealed class Endpoint
    {
        public string? Port { get; set; }

        public string? Path { get; set; }

        public string? Scheme { get; set; }

        public string? Interval { get; set; }

        public Authorization? Authorization { get; set; }

        public Tls? TlsConfig { get; set; }

        public List<Relabeling>? Relabelings { get; set; }
    }

    public sealed class Authorization
    {
        public V1SecretKeySelector? Credentials { get; set; }
    }

    public sealed class Tls
    {
        public string? ServerName { get; set; }

        public SecretOrConfigMap? Ca { get; set; }
    }

    public sealed class SecretOrConfigMap
    {
        public V1SecretKeySelector? Secret { get; set; }

        public V1ConfigMapKeySelector? ConfigMap { get; set; }
    }

    public sealed class Relabeling
    {
        public string? TargetLabel { get; set; }

        public string? Replacement { get; set; }
    }
}

internal sealed class PrometheusRule : CustomResource<PrometheusRule.Of>
{
    public sealed class Of
    {
        public List<Group>? Groups { get; set; }
    }

    public sealed class Group
    {
        public string? Name { get; set; }

        public List<Rule>? Rules { get; set; }
    }

    public sealed class Rule
    {
        public string? Record { get; set; }

        public string? Alert { get; set; }

        public string? Expr { get; set; }

        public string? For { get; set; }

        public Dictionary<string, string>? Labels { get; set; }

        public Dictionary<string, string>? Annotations { get; set; }
    }
}
