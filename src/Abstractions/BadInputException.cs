namespace FedRLora.Abstractions;

/// <summary>
/// Something the user gave is wrong: a plan, a file, a model folder. The message is one line that says what, where and what
/// to do; the CLI prints it without a stack trace and exits with 2.
/// </summary>
[GenerateSerializer, Alias("fedrlora.bad-input")]
public class BadInputException(string message, Exception? innerException = null) : Exception(message, innerException);
