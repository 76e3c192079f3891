using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Jobs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Coordination;

/// <summary>A job's entry in the list of jobs, by which a host that starts knows whether to bring the job back.</summary>
internal sealed class JobMark(IBlobStore store, string job)
{
    private bool _stopped; // by this activation, since the loop last wrote that it runs

    /// <summary>What the entry holds; null where there is none.</summary>
    public Task<byte[]?> ReadAsync(CancellationToken cancellationToken) => store.ReadBytesAsync(Keys.IndexOf(job), cancellationToken);

    /// <summary>Whether what was read says that the job is over.</summary>
    public static bool IsOver(byte[] mark) => mark.AsSpan().SequenceEqual(JobsGrain.Over);

    /// <summary>Puts a new job into the list.</summary>
    public Task BeginAsync(CancellationToken cancellationToken) =>
        store.WriteBytesAsync(Keys.IndexOf(job), JobsGrain.Running.ToArray(), WriteCondition.Any, cancellationToken);

    /// <summary>The job is to be brought back.</summary>
    public Task RunningAsync(CancellationToken cancellationToken) => WriteAsync(JobsGrain.Running.ToArray(), cancellationToken);

    /// <summary>The job is left alone.</summary>
    public Task OverAsync(CancellationToken cancellationToken) => WriteAsync(JobsGrain.Over.ToArray(), cancellationToken);

    /// <summary>The job was stopped by somebody, and stays so after a power cut.</summary>
    public async Task StoppedAsync(CancellationToken cancellationToken)
    {
        await OverAsync(cancellationToken);
        await store.MakeDurableAsync(cancellationToken);
        _stopped = true;
    }

    /// <summary>Takes back <see cref="StoppedAsync"/>: the loop goes on with a job that was resumed.</summary>
    public async Task RunningAgainAsync(CancellationToken cancellationToken)
    {
        if (_stopped) await RunningAsync(cancellationToken);
        _stopped = false;
    }

    private Task<WrittenBlob> WriteAsync(byte[] mark, CancellationToken cancellationToken) =>
        store.WriteDocumentAsync(Keys.IndexOf(job), mark, cancellationToken);
}
