namespace FedRLora.Generator.Text;

/// <summary>A piece of pre-training text: what happened, and what follows from it.</summary>
internal sealed record Story(string Facts, string Conclusion);
