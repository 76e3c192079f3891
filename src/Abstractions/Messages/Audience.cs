namespace FedRLora.Abstractions.Messages;

/// <summary>Who may see something that is known of a client.</summary>
public enum Audience
{
    /// <summary>Its site alone: it is in no message.</summary>
    Site,

    /// <summary>The coordinator too, while the round is open: it is in no manifest, so no digest depends on it.</summary>
    Coordinator,

    /// <summary>Whoever reads the run: it stands in manifests, metrics and reports.</summary>
    Everyone,
}

/// <summary>
/// Says who may see a property. What a trainer gives is of the client's rows, so each of its properties says so, and a test fails for
/// one that does not.
/// </summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class GoesToAttribute(Audience audience) : Attribute
{
    /// <summary>Who may see it.</summary>
    public Audience Audience => audience;
}
