using System.Globalization;
using System.Text;

namespace FedRLora.Silo.Metrics;

/// <summary>
/// Families in Prometheus' text format 0.0.4, or in OpenMetrics 1.0.0, which has exemplars. Names follow OpenTelemetry's rules: units are
/// written out at the end, counters end in <c>_total</c>.
/// </summary>
internal static class PrometheusText
{
    public const string TextType = "text/plain; version=0.0.4; charset=utf-8";
    public const string OpenMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// <summary>Writes families, each with every series' own labels and <paramref name="common"/>.</summary>
    /// <param name="families">What is written; each has another name.</param>
    /// <param name="common">Labels of every series.</param>
    /// <param name="target">What this process is, for <c>target_info</c>.</param>
    /// <param name="isOpenMetrics">Which of both formats.</param>
    public static string Write(
        IEnumerable<FamilyNow> families, IReadOnlyList<KeyValuePair<string, string>> common,
        IReadOnlyList<KeyValuePair<string, string>> target, bool isOpenMetrics)
    {
        var text = new StringBuilder();
        Head(text, isOpenMetrics ? "target" : "target_info", isOpenMetrics ? "info" : "gauge", null, "What this process is", isOpenMetrics);
        Sample(text, "target_info", Labels(target), "", null).Append("1\n");
        var shared = Labels(common);
        foreach (var family in families) Write(text, family, shared, isOpenMetrics);
        if (isOpenMetrics) text.Append("# EOF\n");
        return text.ToString();
    }

    /// <summary>The name that a family has there, without the ending of a counter.</summary>
    public static string NameOf(string name, string? unit)
    {
        var mapped = Mapped(name);
        return UnitOf(unit) is { } written && !mapped.EndsWith("_" + written, StringComparison.Ordinal) ? $"{mapped}_{written}" : mapped;
    }

    /// <summary>Tags as labels.</summary>
    public static string Labels(IEnumerable<KeyValuePair<string, string>> tags) => string.Join(',', tags.Select(static tag =>
        $"{Mapped(tag.Key)}=\"{Escaped(tag.Value, quotes: true)}\""));

    private static void Write(StringBuilder text, FamilyNow family, string common, bool isOpenMetrics)
    {
        var instrument = family.Instrument;
        var name = NameOf(instrument.Name, instrument.Unit);
        var (type, sample) = family.Kind switch
        {
            FamilyKind.Counter => ("counter", name + "_total"), FamilyKind.Histogram => ("histogram", name), _ => ("gauge", name),
        };
        Head(text, isOpenMetrics ? name : sample, type, UnitOf(instrument.Unit), instrument.Description ?? instrument.Name, isOpenMetrics);
        string[] bounds = [.. family.Bounds.Select(bound => Bound(bound, isOpenMetrics)), "+Inf"];
        foreach (var series in family.Series)
        {
            if (family.Kind == FamilyKind.Histogram)
            {
                Histogram(text, name, bounds, series, common, isOpenMetrics);
                continue;
            }

            Sample(text, sample, series.Labels, common, null).Append(Number(series.Value));
            if (isOpenMetrics && family.Kind == FamilyKind.Counter) Exemplar(text, series.Exemplars[0]);
            text.Append('\n');
        }
    }

    private static void Histogram(
        StringBuilder text, string name, string[] bounds, SeriesNow series, string common, bool isOpenMetrics)
    {
        var below = 0L;
        for (var i = 0; i < series.Buckets.Count; i++)
        {
            below += series.Buckets[i];
            Sample(text, name, series.Labels, common, bounds[i], "_bucket").Append(CultureInfo.InvariantCulture, $"{below}");
            if (isOpenMetrics) Exemplar(text, series.Exemplars[i]);
            text.Append('\n');
        }

        Sample(text, name, series.Labels, common, null, "_sum").Append(Number(series.Value)).Append('\n');
        Sample(text, name, series.Labels, common, null, "_count").Append(CultureInfo.InvariantCulture, $"{below}\n");
    }

    private static void Head(StringBuilder text, string name, string type, string? unit, string help, bool isOpenMetrics)
    {
        text.Append("# TYPE ").Append(name).Append(' ').Append(type).Append('\n');
        if (isOpenMetrics && unit is not null) text.Append("# UNIT ").Append(name).Append(' ').Append(unit).Append('\n');
        text.Append("# HELP ").Append(name).Append(' ').Append(Escaped(help, quotes: isOpenMetrics)).Append('\n');
    }

    private static StringBuilder Sample(
        StringBuilder text, string name, string own, string common, string? bound, string suffix = "")
    {
        text.Append(name).Append(suffix).Append('{').Append(own);
        if (own.Length > 0 && common.Length > 0) text.Append(',');
        text.Append(common);
        if (bound is not null) text.Append(own.Length + common.Length > 0 ? "," : "").Append("le=\"").Append(bound).Append('"');
        return text.Append("} ");
    }

    private static void Exemplar(StringBuilder text, Exemplar? exemplar)
    {
        if (exemplar is null) return;
        text.Append(" # {");
        if (exemplar.TraceId is not null)
            text.Append("trace_id=\"").Append(exemplar.TraceId).Append("\",span_id=\"").Append(exemplar.SpanId).Append('"');
        text.Append("} ").Append(Number(exemplar.Value)).Append(' ')
            .Append((exemplar.At.ToUnixTimeMilliseconds() / 1000.0).ToString("F3", CultureInfo.InvariantCulture));
    }

    private static string Mapped(string name) =>
        new([.. name.Select(static letter => char.IsAsciiLetterOrDigit(letter) ? letter : '_')]);

    private static string? UnitOf(string? unit) => unit switch
    {
        "s" => "seconds", "By" => "bytes", "ms" => "milliseconds", "%" => "percent", _ => null, // {things} are in the name
    };

    private static string Number(double value) => value switch
    {
        double.PositiveInfinity => "+Inf", double.NegativeInfinity => "-Inf", _ => value.ToString("R", CultureInfo.InvariantCulture),
    };

    private static string Bound(double bound, bool isOpenMetrics)
    {
        var text = bound.ToString("0.##########", CultureInfo.InvariantCulture);
        return isOpenMetrics && !text.Contains('.', StringComparison.Ordinal) ? text + ".0" : text;
    }

    private static string Escaped(string text, bool quotes)
    {
        var escaped = text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
        return quotes ? escaped.Replace("\"", "\\\"", StringComparison.Ordinal) : escaped;
    }
}
