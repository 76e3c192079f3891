using System.Collections.Concurrent;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>
/// The one thread on which a device's tensors are touched. Work is synchronous and queued in order: a dispose scope or a grad mode
/// belongs to a thread and never spans an await.
/// </summary>
internal sealed class DeviceLane : IDisposable
{
    private readonly BlockingCollection<Action> _queue = [];

    public DeviceLane(Device device)
    {
        Device = device;
        new Thread(Run) { IsBackground = true, Name = $"lane {device}" }.Start();
    }

    public Device Device { get; }

    /// <summary>Runs work on the lane; what it throws, the task throws.</summary>
    /// <param name="work">Takes no tensor and returns none.</param>
    /// <param name="threads">Threads of a matrix product while it runs; 0 takes the processor count.</param>
    /// <param name="cancellationToken">Cancels work that has not begun; work that has begun looks at it itself.</param>
    public Task<T> RunAsync<T>(Func<T> work, int threads, CancellationToken cancellationToken)
    {
        var result = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        _queue.Add(() =>
        {
            try
            {
                cancellationToken.ThrowIfCancellationRequested();
                UseThreads(ThreadsOf(threads));
                result.SetResult(work());
            }
            catch (OperationCanceledException exception)
            {
                result.SetCanceled(exception.CancellationToken);
            }
            catch (Exception exception) // the lane belongs to everybody: a failure goes to whoever asked
            {
                result.SetException(exception);
            }
        }, cancellationToken);
        return result.Task;
    }

    /// <summary>What a plan's <c>threads</c> means on this machine.</summary>
    public static int ThreadsOf(int threads) => threads == 0 ? Environment.ProcessorCount : threads;

    /// <summary>Lets queued work finish; the thread ends after it.</summary>
    public void Dispose() => _queue.CompleteAdding();

    private static void UseThreads(int threads)
    {
        if (get_num_threads() != threads) set_num_threads(threads);
    }

    private void Run()
    {
        foreach (var work in _queue.GetConsumingEnumerable()) work();
        _queue.Dispose();
    }
}
