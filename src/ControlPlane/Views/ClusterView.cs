using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>A site.</summary>
/// <param name="Site">Its name; "*" for every site of one machine.</param>
/// <param name="Silos">The live silos that serve it; empty where none does.</param>
/// <param name="Waits">What is held there, in a line for each run that waits.</param>
public sealed record SiteView(string Site, IReadOnlyList<string> Silos, IReadOnlyList<string> Waits);

/// <summary>The sites that have a silo, or that a run waits for.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Sites">By name.</param>
public sealed record SiteList(int Schema, IReadOnlyList<SiteView> Sites);

/// <summary>A silo.</summary>
/// <param name="Silo">Its name.</param>
/// <param name="Sites">The sites that it serves.</param>
/// <param name="Now">What it is and how it is; null where it does not answer.</param>
/// <param name="Problem">Why it could not be asked.</param>
public sealed record SiloView(string Silo, IReadOnlyList<string> Sites, SiloNow? Now, string? Problem);

/// <summary>The silos that the membership has for alive.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Silos">By name.</param>
public sealed record SiloList(int Schema, IReadOnlyList<SiloView> Silos);

/// <summary>A line of a log.</summary>
/// <param name="Silo">Whose.</param>
/// <param name="Line">The line.</param>
public sealed record SiloLine(string Silo, LogLine Line);

/// <summary>Lines of the logs of all silos.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Lines">By time.</param>
/// <param name="Next">What to give as <c>after</c> to get the lines that come later.</param>
/// <param name="Forgotten">Lines that silos have forgotten since.</param>
/// <param name="Missing">Silos that did not answer, in a line each.</param>
public sealed record LogView(
    int Schema, IReadOnlyList<SiloLine> Lines, string Next, long Forgotten, IReadOnlyList<string> Missing);
