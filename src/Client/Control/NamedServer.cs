namespace FedRLora.Client.Control;

/// <summary>A silo to ask, and what it asks for.</summary>
/// <param name="Address">Where it answers.</param>
/// <param name="Token">Its token.</param>
internal sealed record NamedServer(ServerAddress Address, Token Token);
