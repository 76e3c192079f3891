using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Audit;

/// <summary>A line of the record of what was done through a silo.</summary>
public sealed record AuditLine
{
    /// <summary>The digest that the first line of a chain names.</summary>
    public static readonly string NoDigest = new('0', 64);

    /// <summary>The version of the schema.</summary>
    public int Schema { get; init; } = Json.Schema;

    /// <summary>Whose chain it is of.</summary>
    public required string Silo { get; init; }

    /// <summary>Its number in the chain; the first is 1.</summary>
    public required int Number { get; init; }

    /// <summary>SHA-256 of the stored bytes of the line before.</summary>
    public required string Previous { get; init; }

    /// <summary>When, by the silo's clock.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>What happened.</summary>
    public required AuditEvent What { get; init; }

    /// <summary>Of an answer: the number of the line that says what was asked.</summary>
    public int? Of { get; init; }

    /// <summary>The name of the route.</summary>
    public required string Route { get; init; }

    /// <summary>Who called; null for nobody who is known.</summary>
    public AuditCaller? Who { get; init; }

    /// <summary>From which address the connection came.</summary>
    public required string From { get; init; }

    /// <summary>The run.</summary>
    public string? Run { get; init; }

    /// <summary>The client of the run.</summary>
    public string? Client { get; init; }

    /// <summary>SHA-256 of the body that was sent.</summary>
    public string? BodySha256 { get; init; }

    /// <summary>SHA-256 of the plan in it, as the manifests of the run have it.</summary>
    public string? PlanSha256 { get; init; }

    /// <summary>The status that it was answered with; null of what was only asked.</summary>
    public int? Status { get; init; }

    /// <summary>Whether the answer was cut before its end.</summary>
    public bool? WasCut { get; init; }

    /// <summary>How many refusals of callers who showed nothing valid were not written before this line, since they came too
    /// fast.</summary>
    public int? Unwritten { get; init; }
}

/// <summary>Who called.</summary>
/// <param name="Name">The name.</param>
/// <param name="By">By what: <c>token</c>, <c>tokens</c>, <c>oidc</c>, <c>certificate</c>, <c>browser</c>.</param>
/// <param name="Credential">Which: the name of a token, the serial of a certificate; never the credential itself.</param>
/// <param name="Roles">The roles.</param>
public sealed record AuditCaller(string Name, string By, string? Credential, IReadOnlyList<string> Roles);

/// <summary>What a line tells.</summary>
public enum AuditEvent
{
    /// <summary>Something was asked, by somebody who may: written before it is done.</summary>
    Asked,

    /// <summary>It was answered.</summary>
    Answered,

    /// <summary>It was refused before it began.</summary>
    Refused,
}

/// <summary>The chains of a store.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Chains">Each chain.</param>
public sealed record AuditChains(int Schema, IReadOnlyList<AuditChainEnd> Chains);

/// <summary>Where a chain ends: what is noted outside shows later whether its end was cut off.</summary>
/// <param name="Silo">The silo whose it is.</param>
/// <param name="Lines">How many lines it has.</param>
/// <param name="Sha256">SHA-256 of the last one.</param>
public sealed record AuditChainEnd(string Silo, int Lines, string Sha256);
