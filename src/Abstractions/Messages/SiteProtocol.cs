namespace FedRLora.Abstractions.Messages;

/// <summary>
/// The number of the messages between a coordinator and its sites: <see cref="Grains.ISiteGrain"/>, <see cref="Grains.ISiteRunGrain"/> and
/// <see cref="Grains.IRunReportingGrain"/> with all that they carry. A field that is added with a meaning where it is absent keeps the
/// number; whatever else changes raises it. Versions one apart work together, so that silos can be replaced one after the other.
/// </summary>
public static class SiteProtocol
{
    /// <summary>What this version speaks.</summary>
    public const int Version = 1;

    /// <summary>What a message without a number speaks: it was sent before there was one.</summary>
    private const int Unnumbered = 1;

    /// <summary>Why this version does not work with another, in one line; null where it does.</summary>
    /// <param name="sender">Who sent the message, as a sentence begins with it.</param>
    /// <param name="version">The number in the message; 0 where it has none.</param>
    public static string? Refusal(string sender, int version)
    {
        var theirs = version == 0 ? Unnumbered : version;
        if (Math.Abs(theirs - Version) <= 1) return null;
        var older = theirs < Version ? "the sender" : "this silo";
        return $"{sender} speaks version {theirs} of the messages between coordinator and sites, and this silo version {Version}; versions "
            + $"one apart work together: install a newer fedrlora for {older} first";
    }
}
