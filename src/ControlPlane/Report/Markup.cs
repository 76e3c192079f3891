using System.Net;

namespace FedRLora.ControlPlane.Report;

/// <summary>Text inside HTML that is also well-formed XML.</summary>
internal static class Markup
{
    /// <summary>Escapes for element text and quoted attributes; characters that XML forbids become U+FFFD.</summary>
    public static string Escape(string? text)
    {
        var clean = string.Create((text ?? "").Length, text ?? "", static (span, source) =>
        {
            for (var i = 0; i < span.Length; i++)
            {
                var c = source[i];
                var paired = (char.IsHighSurrogate(c) && i + 1 < source.Length && char.IsLowSurrogate(source[i + 1]))
                    || (char.IsLowSurrogate(c) && i > 0 && char.IsHighSurrogate(source[i - 1]));
                span[i] = (char.IsControl(c) && c is not ('\n' or '\t' or '\r')) || c is '\uFFFE' or '\uFFFF'
                    || (char.IsSurrogate(c) && !paired)
                    ? '\uFFFD' : c;
            }
        });
        return WebUtility.HtmlEncode(clean);
    }
}
