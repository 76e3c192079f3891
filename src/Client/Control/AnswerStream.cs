using System.Globalization;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Control;

/// <summary>What ends a part of an answer, after which its length counts from nothing.</summary>
internal enum Part
{
    /// <summary>Nothing: the answer is one document.</summary>
    Whole,

    /// <summary>The end of a line.</summary>
    Line,

    /// <summary>An empty line.</summary>
    Event,
}

/// <summary>
/// The body of an answer. It may be long, but never silent for long, and no part of it that has to be held in memory is without a bound;
/// what goes wrong is one line.
/// </summary>
/// <param name="inner">The body.</param>
/// <param name="server">Who sends it.</param>
/// <param name="silence">The longest silence.</param>
/// <param name="part">What the bound is of.</param>
/// <param name="most">The bound in bytes.</param>
internal sealed class AnswerStream(Stream inner, NamedServer server, TimeSpan silence, Part part, long most) : Stream
{
    private long _length;
    private int _ends;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(silence);
        try
        {
            var read = await inner.ReadAsync(buffer, enough.Token);
            Count(buffer.Span[..read]);
            return read;
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new NoAnswerException(string.Create(CultureInfo.InvariantCulture,
                $"{server.Address} has sent nothing for {silence.TotalSeconds:0.#} s in the middle of its answer"), e);
        }
        catch (Exception e) when (e is IOException or HttpRequestException or ObjectDisposedException)
        {
            throw new NoAnswerException($"the connection to {server.Address} was lost in the middle of its answer", e);
        }
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush()
    {
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing) inner.Dispose();
        base.Dispose(disposing);
    }

    private void Count(ReadOnlySpan<byte> bytes)
    {
        foreach (var one in bytes)
        {
            _ends = one switch { (byte)'\n' => _ends + 1, (byte)'\r' => _ends, _ => 0 };
            _length = (part, _ends) is (Part.Line, > 0) or (Part.Event, > 1) ? 0 : _length + 1;
            if (_length > most) throw ControlErrors.NoSilo(server, $"its answer is longer than {Words.Bytes(most)}");
        }
    }
}
