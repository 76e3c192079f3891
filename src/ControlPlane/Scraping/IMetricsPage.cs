using Microsoft.AspNetCore.Http;

namespace FedRLora.ControlPlane.Scraping;

/// <summary>The page that Prometheus reads: what this silo has measured.</summary>
public interface IMetricsPage
{
    /// <summary>
    /// Answers with the format that the request accepts: OpenMetrics 1.0.0 with exemplars, or Prometheus' text format 0.0.4.
    /// </summary>
    Task WriteAsync(HttpContext context);
}
