namespace FedRLora.Grains;

/// <summary>Who this silo is.</summary>
/// <param name="Name">The silo's name.</param>
/// <param name="Sites">The sites it serves, or "*" for all (one machine).</param>
public sealed record SiloIdentity(string Name, IReadOnlyList<string> Sites)
{
    /// <summary>Whether clients of a site may run here.</summary>
    public bool Serves(string site) => Sites.Contains("*") || Sites.Contains(site);
}
