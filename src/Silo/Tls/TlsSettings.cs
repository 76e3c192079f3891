using FedRLora.Pki;

namespace FedRLora.Silo.Tls;

/// <summary>How a silo talks over mutual TLS.</summary>
/// <param name="Files">Its certificate, whom it trusts and whom it denies.</param>
/// <param name="Domain">The trust domain.</param>
/// <param name="Silo">The silo's own name.</param>
/// <param name="Sites">The sites that it serves.</param>
public sealed record TlsSettings(TlsFiles Files, string Domain, string Silo, IReadOnlyList<string> Sites)
{
    /// <summary>
    /// Whether every silo has a row in the membership before it connects; it has not where the first silo keeps the rows in its memory, on
    /// loopback.
    /// </summary>
    public bool RowsComeFirst { get; init; } = true;

    /// <summary>How long a handshake may take, and how long what comes after it.</summary>
    internal TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How often the files are read and open connections are judged again.</summary>
    internal TimeSpan LookEvery { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>For how long the silo's own certificate may be refused before it ends: a renewal may arrive file by file.</summary>
    internal TimeSpan OwnPatience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The clock that certificates are judged by; null for the host's.</summary>
    internal TimeProvider? Clock { get; init; }

    /// <summary>Whether who connects has to be of the sites that its row claims. Off in tests alone: they show what it keeps out.</summary>
    internal bool BindsInbound { get; init; } = true;

    /// <summary>The same of those that this silo connects to.</summary>
    internal bool BindsOutbound { get; init; } = true;
}
