namespace FedRLora.Client;

/// <summary>What a command returns to the shell.</summary>
internal static class ExitCode
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int BadInput = 2;

    /// <summary>A missing library, feed or device; a store that cannot be used.</summary>
    public const int Environment = 3;
    public const int Interrupted = 130;
}
