namespace FedRLora.Client;

/// <summary>The machine, not the user's input, is why it does not work: exit code 3.</summary>
internal class EnvironmentException(string message, Exception? innerException = null) : Exception(message, innerException);
