namespace FedRLora.Client.Control;

/// <summary>A silo to ask, and what it asks for.</summary>
/// <param name="Address">Where it answers.</param>
/// <param name="Token">Its token.</param>
/// <param name="Trust">What is trusted over https; null for the machine's authorities.</param>
internal sealed record NamedServer(ServerAddress Address, Token Token, ServerTrust? Trust = null);
