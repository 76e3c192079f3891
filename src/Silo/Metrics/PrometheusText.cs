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
        Sample(text, "target_info", target, [], null, "1");
        text.Append('\n');
        foreach (var family in families) Write(text, family, common, isOpenMetrics);
        if (isOpenMetrics) text.Append("# EOF\n");
        return text.ToString();
    }

    /// <summary>The name that a family has there, without the ending of a counter.</summary>
    public static string NameOf(string name, string? unit)
    {
        var mapped = new string([.. name.Select(static letter => char.IsAsciiLetterOrDigit(letter) ? letter : '_')]);
        return UnitOf(unit) is { } written && !mapped.EndsWith("_" + written, StringComparison.Ordinal) ? $"{mapped}_{written}" : mapped;
    }

    private static void Write(StringBuilder text, FamilyNow family, IReadOnlyList<KeyValuePair<string, string>> common, bool isOpenMetrics)
    {
        var instrument = family.Instrument;
        var name = NameOf(instrument.Name, instrument.Unit);
        var (type, sample) = family.Kind switch
        {
            FamilyKind.Counter => ("counter", name + "_total"), FamilyKind.Histogram => ("histogram", name), _ => ("gauge", name),
        };
        Head(text, isOpenMetrics ? name : sample, type, UnitOf(instrument.Unit), instrument.Description ?? instrument.Name, isOpenMetrics);
        foreach (var series in family.Series)
        {
            if (family.Kind == FamilyKind.Histogram)
            {
                Histogram(text, name, family, series, common, isOpenMetrics);
                continue;
            }

            Sample(text, sample, series.Tags, common, null, Number(series.Value));
            if (isOpenMetrics && family.Kind == FamilyKind.Counter) Exemplar(text, series.Exemplars[0]);
            text.Append('\n');
        }
    }

    private static void Histogram(
        StringBuilder text, string name, FamilyNow family, SeriesNow series, IReadOnlyList<KeyValuePair<string, string>> common,
        bool isOpenMetrics)
    {
        var below = 0L;
        for (var i = 0; i < series.Buckets.Count; i++)
        {
            below += series.Buckets[i];
            var bound = i < family.Bounds.Count ? Bound(family.Bounds[i], isOpenMetrics) : "+Inf";
            Sample(text, name + "_bucket", series.Tags, common, bound, below.ToString(CultureInfo.InvariantCulture));
            if (isOpenMetrics) Exemplar(text, series.Exemplars[i]);
            text.Append('\n');
        }

        Sample(text, name + "_sum", series.Tags, common, null, Number(series.Value));
        text.Append('\n');
        Sample(text, name + "_count", series.Tags, common, null, below.ToString(CultureInfo.InvariantCulture));
        text.Append('\n');
    }

    private static void Head(StringBuilder text, string name, string type, string? unit, string help, bool isOpenMetrics)
    {
        text.Append("# TYPE ").Append(name).Append(' ').Append(type).Append('\n');
        if (isOpenMetrics && unit is not null) text.Append("# UNIT ").Append(name).Append(' ').Append(unit).Append('\n');
        text.Append("# HELP ").Append(name).Append(' ').Append(Escaped(help, quotes: isOpenMetrics)).Append('\n');
    }

    private static void Sample(
        StringBuilder text, string name, IReadOnlyList<KeyValuePair<string, string>> own, IReadOnlyList<KeyValuePair<string, string>> common,
        string? bound, string value)
    {
        text.Append(name);
        var first = true;
        foreach (var (label, content) in own.Concat(common)) Label(label, content);
        if (bound is not null) Label("le", bound);
        text.Append(first ? " " : "} ").Append(value);

        void Label(string label, string content)
        {
            text.Append(first ? '{' : ',').Append(new string([.. label.Select(static letter => char.IsAsciiLetterOrDigit(letter) ? letter : '_')]))
                .Append("=\"").Append(Escaped(content, quotes: true)).Append('"');
            first = false;
        }
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
