using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Tests;

/// <summary>The process died in a store operation. No code of the product knows it, so none can handle it.</summary>
internal sealed class CrashException(string operation) : Exception($"The process died in {operation}.");

/// <summary>Where a process dies relative to an operation.</summary>
internal enum CrashMode
{
    /// <summary>The operation has no effect.</summary>
    Before,

    /// <summary>The operation takes effect; its caller never hears of it.</summary>
    After,

    /// <summary>
    /// Half of a write's content is handed over; half of the keys under a prefix are deleted. A read dies as in <see cref="Before"/>.
    /// </summary>
    Torn,
}

/// <summary>
/// A store whose faults are scripted by the number of the operation, from 1. After a crash every operation fails, as long as this
/// instance lives: it is the store of one process.
/// </summary>
internal sealed class FaultInjectingStore(IBlobStore inner) : IBlobStore
{
    private readonly TaskCompletionSource<string> _crashed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _operations;
    private int _times; // of the operation in CrashIn

    /// <summary>The operation in which the process dies, and how; null: never.</summary>
    public (int Operation, CrashMode Mode)? Crash { get; init; }

    /// <summary>The same by what the operation does, the how manieth time; null: never.</summary>
    public (string Operation, int Time, CrashMode Mode)? CrashIn { get; init; }

    /// <summary>Operations, from the first to the one after the last, in which the store cannot be used; a test may move it.</summary>
    public Range Unavailable { get; set; }

    /// <summary>Operations so far.</summary>
    public int Operations => Volatile.Read(ref _operations);

    /// <summary>Completes with the operation in which the process died.</summary>
    public Task<string> Crashed => _crashed.Task;

    /// <inheritdoc/>
    public async Task<WrittenBlob> WriteAsync(
        string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition, CancellationToken cancellationToken = default)
    {
        var mode = Begin($"write {key}");
        var written = mode == CrashMode.Torn
            ? await inner.WriteAsync(key, HalfAsync, condition, cancellationToken)
            : await inner.WriteAsync(key, content, condition, cancellationToken);
        End(mode, $"write {key}");
        return written;

        async Task HalfAsync(Stream stream, CancellationToken token)
        {
            using var whole = new MemoryStream();
            await content(whole, token);
            await stream.WriteAsync(whole.GetBuffer().AsMemory(0, (int)whole.Length / 2), token);
            throw Die($"write {key}");
        }
    }

    /// <inheritdoc/>
    public async Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default)
    {
        var mode = Begin($"open {key}");
        if (mode == CrashMode.Torn) throw Die($"open {key}");
        var opened = await inner.OpenAsync(key, cancellationToken);
        if (mode is not null && opened is not null) await opened.DisposeAsync();
        End(mode, $"open {key}");
        return opened;
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<string> ListAsync(string prefix, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var mode = Begin($"list {prefix}");
        if (mode is not null) throw Die($"list {prefix}");
        await foreach (var key in inner.ListAsync(prefix, cancellationToken)) yield return key;
    }

    /// <inheritdoc/>
    public async Task DeleteAsync(string key, CancellationToken cancellationToken = default)
    {
        var mode = Begin($"delete {key}");
        if (mode == CrashMode.Torn) throw Die($"delete {key}");
        await inner.DeleteAsync(key, cancellationToken);
        End(mode, $"delete {key}");
    }

    /// <inheritdoc/>
    public async Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default)
    {
        var mode = Begin($"delete {prefix}");
        if (mode == CrashMode.Torn)
        {
            var keys = new List<string>();
            await foreach (var key in inner.ListAsync(prefix, cancellationToken)) keys.Add(key);
            foreach (var key in keys.Take(keys.Count / 2)) await inner.DeleteAsync(key, cancellationToken);
            throw Die($"delete {prefix}");
        }

        await inner.DeleteAllAsync(prefix, cancellationToken);
        End(mode, $"delete {prefix}");
    }

    /// <inheritdoc/>
    public async Task MakeDurableAsync(CancellationToken cancellationToken = default)
    {
        var mode = Begin("make durable");
        if (mode == CrashMode.Torn) throw Die("make durable");
        await inner.MakeDurableAsync(cancellationToken);
        End(mode, "make durable");
    }

    // The mode to die in, for the operation that the script names.
    private CrashMode? Begin(string operation)
    {
        if (Crashed.IsCompleted) throw new CrashException(operation);
        var number = Interlocked.Increment(ref _operations);
        if (number >= Unavailable.Start.Value && number < Unavailable.End.Value)
            throw new StoreUnavailableException($"The store of this test is away: {operation}.");
        CrashMode? mode = Crash is { } crash && number == crash.Operation ? crash.Mode
            : CrashIn is { } named && named.Operation == operation && Interlocked.Increment(ref _times) == named.Time ? named.Mode : null;
        return mode == CrashMode.Before ? throw Die(operation) : mode;
    }

    private void End(CrashMode? mode, string operation)
    {
        if (mode is not null) throw Die(operation);
    }

    private CrashException Die(string operation)
    {
        _crashed.TrySetResult(operation);
        return new CrashException(operation);
    }
}
