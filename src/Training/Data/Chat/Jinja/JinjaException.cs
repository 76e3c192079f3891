namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>What is wrong with a template or its run, without the place; <see cref="JinjaTemplate"/> adds the file and the line.</summary>
internal sealed class JinjaException(string message) : Exception(message);
