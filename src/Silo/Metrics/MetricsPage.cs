using System.Text;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Scraping;
using Microsoft.AspNetCore.Http;

namespace FedRLora.Silo.Metrics;

/// <summary>The page from <see cref="MetricStore"/>; Orleans' own instruments are not on it.</summary>
/// <param name="store">The metrics.</param>
/// <param name="silo">What silo it is.</param>
/// <param name="engine">The engine that it trains with; null where it does not say.</param>
internal sealed class MetricsPage(MetricStore store, SiloOptions silo, string? engine) : IMetricsPage
{
    private readonly KeyValuePair<string, string>[] _common = [new("silo", silo.Name)];
    private readonly KeyValuePair<string, string>[] _target =
    [
        new("service_name", "fedrlora"), new("service_instance_id", silo.Name), new("silo", silo.Name),
        new("site", string.Join(',', silo.Sites)), new("service_version", Version),
        .. engine is null ? [] : (ReadOnlySpan<KeyValuePair<string, string>>)[new("engine", engine)],
    ];

    /// <summary>The program's.</summary>
    public static string Version => typeof(MetricsPage).Assembly.GetName().Version?.ToString(3) ?? "unknown";

    /// <inheritdoc/>
    public async Task WriteAsync(HttpContext context)
    {
        var accepts = context.Request.Headers.Accept.ToString();
        var isOpenMetrics = accepts.Contains("application/openmetrics-text", StringComparison.OrdinalIgnoreCase);
        var bytes = Encoding.UTF8.GetBytes(Text(isOpenMetrics));
        context.Response.ContentType = isOpenMetrics ? PrometheusText.OpenMetricsType : PrometheusText.TextType;
        context.Response.ContentLength = bytes.Length;
        await context.Response.Body.WriteAsync(bytes, context.RequestAborted);
    }

    /// <summary>The page's text.</summary>
    public string Text(bool isOpenMetrics) => PrometheusText.Write(
        store.Collect().Where(static family => family.Instrument.Meter.Name == Telemetry.Name), _common, _target, isOpenMetrics);
}
