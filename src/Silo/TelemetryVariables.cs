using System.Collections;
using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.Silo.Metrics;
using FedRLora.Silo.Otlp;
using OpenTelemetry.Exporter;

namespace FedRLora.Silo;

/// <summary>
/// What OpenTelemetry's variables ask for. The library passes over a value that it cannot use and goes on with its own; here such a
/// value is refused, and what nothing reads is named.
/// </summary>
internal sealed class TelemetryVariables
{
    private const string Otlp = "OTEL_EXPORTER_OTLP_";
    private static readonly string[] Signals = ["", "METRICS_", "TRACES_", "LOGS_"];

    private static readonly (Func<string, bool> IsValid, string Otherwise)
        Address = (IsAddress, "is no address; write it with its scheme, as http://localhost:4317"),
        Milliseconds = (IsPositive, "is no time; give milliseconds, as 10000"),
        Count = (IsPositive, "is no number of things; give a whole number above 0"),
        Pairs = (ArePairs, "is no list of key=value pairs with commas between them"),
        Certificate = (IsPem, "is no certificate that can be read; give a file in PEM form"),
        File = (System.IO.File.Exists, "is no file"),
        Bound = (static value => int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out _),
            "is no bound; give a whole number"),
        Share = (IsShare, "is no share; give a number from 0 to 1"),
        Exporter = (static value => value is "otlp" or "none", "is not what this program exports by; give otlp or none"),
        Buckets = (static value => value == "explicit_bucket_histogram",
            "is no aggregation of this program, whose histograms have stated buckets; give explicit_bucket_histogram");

    private static readonly Dictionary<string, (Func<string, bool> IsValid, string Otherwise)> Known = Checks();

    private readonly Dictionary<string, string> _set;

    private TelemetryVariables(Dictionary<string, string> set) => _set = set;

    /// <summary>Those of this process. An empty variable is one that is not set, as everywhere in OpenTelemetry.</summary>
    /// <exception cref="BadInputException">A value has another effect than the one that was asked for, or none.</exception>
    public static TelemetryVariables Read()
    {
        var set = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
        {
            if (variable is { Key: string name, Value: string { Length: > 0 } value } && name.StartsWith("OTEL_", StringComparison.Ordinal))
                set.Add(name, value);
        }

        foreach (var (name, value) in set.OrderBy(static pair => pair.Key, StringComparer.Ordinal))
        {
            if (!Known.TryGetValue(name, out var check) || check.IsValid(value)) continue;
            // what headers carry is for the collector alone
            var shown = name.EndsWith("_HEADERS", StringComparison.Ordinal) ? "the value" : $"'{BadInputException.Shown(value)}'";
            throw new BadInputException($"{name}: {shown} {check.Otherwise}");
        }

        var read = new TelemetryVariables(set);
        read.RequireBatchesThatFit();
        return read;
    }

    public bool SendsMetrics => Sends("METRICS_");

    public bool SendsTraces => Sends("TRACES_");

    public bool SendsLogs => Sends("LOGS_");

    /// <summary>Whether anything is sent.</summary>
    public bool SendsAny => SendsMetrics || SendsTraces || SendsLogs;

    /// <summary>How often metrics are sent.</summary>
    public TimeSpan MetricInterval => TimeSpan.FromMilliseconds(Number("OTEL_METRIC_EXPORT_INTERVAL", 60_000));

    /// <summary>Whether each export of metrics tells what came since the one before.</summary>
    public bool IsDelta => Is(Otlp + "METRICS_TEMPORALITY_PREFERENCE", "delta");

    /// <summary>Which measurements may be exemplars.</summary>
    public ExemplarFilter Exemplars => _set.GetValueOrDefault("OTEL_METRICS_EXEMPLAR_FILTER") switch
    {
        "always_on" => ExemplarFilter.AlwaysOn, "always_off" => ExemplarFilter.AlwaysOff, _ => ExemplarFilter.TraceBased,
    };

    /// <summary>One line about what is set and has no effect; null for none.</summary>
    public string? WithoutEffect
    {
        get
        {
            var nothing = !SendsAny;
            var names = _set.Keys.Where(name => nothing ? name.StartsWith(Otlp, StringComparison.Ordinal) : !Known.ContainsKey(name))
                .Where(_ => !Disabled).Order(StringComparer.Ordinal).ToArray();
            return names.Length == 0 ? null
                : $"{string.Join(", ", names)}: {(nothing ? $"nothing is sent without {Otlp}ENDPOINT" : "without effect in this program")}";
        }
    }

    /// <summary>Sets what the variables of metrics alone say.</summary>
    public void SetMetrics(OtlpExporterOptions exporter) => Set(exporter, "METRICS_");

    /// <summary>Sets what the variables of traces alone say.</summary>
    public void SetTraces(OtlpExporterOptions exporter) => Set(exporter, "TRACES_");

    /// <summary>Sets what the variables of logs alone say.</summary>
    public void SetLogs(OtlpExporterOptions exporter) => Set(exporter, "LOGS_");

    /// <summary>For how long the collector of a signal may think; what a request waits for nobody waits for.</summary>
    public TimeSpan TimeoutOf(string signal)
    {
        var ofBatch = signal switch
        {
            "METRICS_" => "OTEL_METRIC_EXPORT_TIMEOUT", "TRACES_" => "OTEL_BSP_EXPORT_TIMEOUT", _ => "OTEL_BLRP_EXPORT_TIMEOUT",
        };
        return TimeSpan.FromMilliseconds(Math.Min(
            Number($"{Otlp}{signal}TIMEOUT", Number($"{Otlp}TIMEOUT", 10_000)), Number(ofBatch, 30_000)));
    }

    /// <summary>A request with metrics.</summary>
    public OtlpRequest MetricsRequest(byte[] message)
    {
        var isGrpc = Of("PROTOCOL") is null or "grpc";
        var own = _set.GetValueOrDefault($"{Otlp}METRICS_ENDPOINT");
        var general = _set.GetValueOrDefault($"{Otlp}ENDPOINT") ?? (isGrpc ? "http://localhost:4317" : "http://localhost:4318");
        var address = isGrpc ? Below(own ?? general, "opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
            : own is not null ? new Uri(own) : Below(general, "v1/metrics");
        var headers = (Of("HEADERS") ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries).Select(static pair => pair.Split('=', 2))
            .Select(static pair => KeyValuePair.Create(Uri.UnescapeDataString(pair[0].Trim()), Uri.UnescapeDataString(pair[1].Trim())));
        return OtlpRequest.Of(address, isGrpc, Of("COMPRESSION") == "gzip", headers, message);

        string? Of(string setting) => _set.GetValueOrDefault($"{Otlp}METRICS_{setting}") ?? _set.GetValueOrDefault($"{Otlp}{setting}");

        static Uri Below(string address, string path) => new(address.TrimEnd('/') + "/" + path);
    }

    /// <summary>What speaks to collectors, with the certificates that the variables name.</summary>
    public HttpMessageHandler Handler()
    {
        var handler = new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(5), AllowAutoRedirect = false };
        if (_set.TryGetValue(Otlp + "CERTIFICATE", out var authority))
        {
            var policy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
            };
            policy.CustomTrustStore.ImportFromPemFile(authority);
            handler.SslOptions.CertificateChainPolicy = policy;
        }

        if (_set.TryGetValue(Otlp + "CLIENT_CERTIFICATE", out var certificate))
        {
            handler.SslOptions.ClientCertificates =
                [X509Certificate2.CreateFromPemFile(certificate, _set.GetValueOrDefault(Otlp + "CLIENT_KEY"))];
        }

        return handler;
    }

    // The exporter reads by itself the variables that hold for every signal, and only those.
    private void Set(OtlpExporterOptions exporter, string signal)
    {
        if (_set.TryGetValue($"{Otlp}{signal}PROTOCOL", out var protocol))
            exporter.Protocol = protocol == "grpc" ? OtlpExportProtocol.Grpc : OtlpExportProtocol.HttpProtobuf;
        if (_set.TryGetValue($"{Otlp}{signal}ENDPOINT", out var endpoint)) exporter.Endpoint = new Uri(endpoint);
        if (_set.TryGetValue($"{Otlp}{signal}HEADERS", out var headers)) exporter.Headers = headers;
        if (_set.ContainsKey($"{Otlp}{signal}TIMEOUT")) exporter.TimeoutMilliseconds = Number($"{Otlp}{signal}TIMEOUT", otherwise: 0);
        if (_set.TryGetValue($"{Otlp}{signal}COMPRESSION", out var compression))
            exporter.Compression = compression == "gzip" ? OtlpExportCompression.GZip : OtlpExportCompression.None;
    }

    private bool Disabled => Is("OTEL_SDK_DISABLED", "true");

    // Asked for by name, a signal goes to the collector of this machine where no other is named.
    private bool Sends(string signal)
    {
        var exporter = $"OTEL_{signal}EXPORTER";
        return !Disabled && !Is(exporter, "none")
            && (_set.ContainsKey($"{Otlp}ENDPOINT") || _set.ContainsKey($"{Otlp}{signal}ENDPOINT") || Is(exporter, "otlp"));
    }

    private bool Is(string name, string value) =>
        _set.TryGetValue(name, out var found) && found.Equals(value, StringComparison.OrdinalIgnoreCase);

    private void RequireBatchesThatFit()
    {
        foreach (var kind in new[] { "BSP", "BLRP" })
        {
            string batch = $"OTEL_{kind}_MAX_EXPORT_BATCH_SIZE", queue = $"OTEL_{kind}_MAX_QUEUE_SIZE";
            var (size, room) = (Number(batch, 512), Number(queue, 2048));
            if (size > room) throw new BadInputException($"{batch}: {size} is more than the {room} that {queue} leaves room for");
        }
    }

    private int Number(string name, int otherwise) =>
        _set.TryGetValue(name, out var value) ? int.Parse(value, CultureInfo.InvariantCulture) : otherwise;

    private static Dictionary<string, (Func<string, bool> IsValid, string Otherwise)> Checks()
    {
        var checks = new Dictionary<string, (Func<string, bool>, string)>(StringComparer.Ordinal)
        {
            ["OTEL_SDK_DISABLED"] = (static value => bool.TryParse(value, out _), "is no choice; give true or false"),
            ["OTEL_SERVICE_NAME"] = (static _ => true, ""),
            ["OTEL_RESOURCE_ATTRIBUTES"] = Pairs,
            ["OTEL_METRICS_EXPORTER"] = Exporter,
            ["OTEL_TRACES_EXPORTER"] = Exporter,
            ["OTEL_LOGS_EXPORTER"] = Exporter,
            ["OTEL_TRACES_SAMPLER"] = OneOf("sampler",
                "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
            ["OTEL_TRACES_SAMPLER_ARG"] = Share,
            ["OTEL_METRICS_EXEMPLAR_FILTER"] = OneOf("filter", "always_on", "always_off", "trace_based"),
            ["OTEL_METRIC_EXPORT_INTERVAL"] = Milliseconds,
            ["OTEL_METRIC_EXPORT_TIMEOUT"] = Milliseconds,
            ["OTEL_BSP_SCHEDULE_DELAY"] = Milliseconds,
            ["OTEL_BSP_EXPORT_TIMEOUT"] = Milliseconds,
            ["OTEL_BSP_MAX_QUEUE_SIZE"] = Count,
            ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] = Count,
            ["OTEL_BLRP_SCHEDULE_DELAY"] = Milliseconds,
            ["OTEL_BLRP_EXPORT_TIMEOUT"] = Milliseconds,
            ["OTEL_BLRP_MAX_QUEUE_SIZE"] = Count,
            ["OTEL_BLRP_MAX_EXPORT_BATCH_SIZE"] = Count,
            [Otlp + "METRICS_TEMPORALITY_PREFERENCE"] = OneOf("temporality", "cumulative", "delta"),
            [Otlp + "METRICS_DEFAULT_HISTOGRAM_AGGREGATION"] = Buckets,
            [Otlp + "CERTIFICATE"] = Certificate,
            [Otlp + "CLIENT_CERTIFICATE"] = Certificate,
            [Otlp + "CLIENT_KEY"] = File,
        };
        foreach (var signal in Signals)
        {
            checks[$"{Otlp}{signal}ENDPOINT"] = Address;
            checks[$"{Otlp}{signal}PROTOCOL"] = OneOf("protocol", "grpc", "http/protobuf");
            checks[$"{Otlp}{signal}TIMEOUT"] = Milliseconds;
            checks[$"{Otlp}{signal}HEADERS"] = Pairs;
            checks[$"{Otlp}{signal}COMPRESSION"] = OneOf("compression", "gzip", "none");
        }

        foreach (var counted in new[] { "ATTRIBUTE_COUNT", "ATTRIBUTE_VALUE_LENGTH", "SPAN_ATTRIBUTE_COUNT", "SPAN_ATTRIBUTE_VALUE_LENGTH",
                     "SPAN_EVENT_COUNT", "SPAN_LINK_COUNT", "EVENT_ATTRIBUTE_COUNT", "LINK_ATTRIBUTE_COUNT" })
            checks[$"OTEL_{counted}_LIMIT"] = Bound;
        return checks;
    }

    // In small letters, as OpenTelemetry writes them: not every reader of the library takes others.
    private static (Func<string, bool> IsValid, string Otherwise) OneOf(string kind, params string[] values) =>
        (value => values.Contains(value, StringComparer.Ordinal), $"is no {kind}; give {string.Join(", ", values[..^1])} or {values[^1]}");

    private static bool IsAddress(string value) =>
        Uri.TryCreate(value, UriKind.Absolute, out var address) && address.Scheme is "http" or "https" && address.Host.Length > 0
        && value.StartsWith(address.Scheme + "://", StringComparison.OrdinalIgnoreCase);

    private static bool IsPositive(string value) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0;

    private static bool IsShare(string value) =>
        double.TryParse(value, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var share) && share <= 1;

    private static bool ArePairs(string value) =>
        value.Split(',').All(static pair => pair.Trim().IndexOf('=', StringComparison.Ordinal) > 0);

    private static bool IsPem(string path)
    {
        try
        {
            X509Certificate2.CreateFromPem(System.IO.File.ReadAllText(path)).Dispose();
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException)
        {
            return false;
        }
    }
}
