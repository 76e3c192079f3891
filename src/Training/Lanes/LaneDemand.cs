namespace FedRLora.Training.Lanes;

/// <summary>What a piece of work needs of a device.</summary>
/// <param name="Run">Whose work it is: runs take turns.</param>
/// <param name="Threads">Threads of a matrix product, which bits depend on.</param>
/// <param name="Bytes">Memory while it runs. It only delays work: which members train together never depends on it.</param>
internal sealed record LaneDemand(string Run, int Threads, long Bytes)
{
    /// <summary>What a plan's <c>threads</c> means on this machine.</summary>
    public static int ThreadsOf(int threads) => threads == 0 ? Environment.ProcessorCount : threads;
}
