namespace FedRLora.Training;

/// <summary>
/// The memory of this process that is in use, looked at ten times a second at most: a small step is not much longer than the question.
/// </summary>
internal static class ResidentMemory
{
    private const int MaxAgeMilliseconds = 100;

    private static readonly Lock Gate = new();
    private static long _readAt;
    private static long _bytes;

    /// <summary>In bytes.</summary>
    public static long Bytes
    {
        get
        {
            lock (Gate)
            {
                var now = Environment.TickCount64;
                if (_bytes == 0 || now - _readAt >= MaxAgeMilliseconds) (_bytes, _readAt) = (Environment.WorkingSet, now);
                return _bytes;
            }
        }
    }
}
