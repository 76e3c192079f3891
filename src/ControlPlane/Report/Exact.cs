using System.Globalization;

namespace FedRLora.ControlPlane.Report;

/// <summary>The number behind a rounded one, as JSON and CSV write it.</summary>
internal static class Exact
{
    /// <summary>As text; empty where there is none.</summary>
    public static string Of(double? value) => value is { } number ? number.ToString(CultureInfo.InvariantCulture) : "";

    /// <summary>As an attribute that browsers show, with a space before it; nothing where there is none.</summary>
    public static string Attribute(double? value) => value is { } number ? $" title=\"{Of(number)}\"" : "";
}
