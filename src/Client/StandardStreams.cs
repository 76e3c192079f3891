using System.Text;

namespace FedRLora.Client;

/// <summary>
/// Standard output and error as programs read them: in UTF-8 whatever the locale, since a charset that lacks a character would make it
/// a question mark. What cannot be written is said once and ends no command: a run goes on without its progress lines.
/// </summary>
internal sealed class StandardStreams
{
    private readonly Sink? _output;

    private StandardStreams(Sink? output) => _output = output;

    /// <summary>Takes the place of the console's writers; a terminal keeps its own charset, with escapes for what that lacks.</summary>
    /// <param name="json">Whether standard output is JSON, which is UTF-8 always.</param>
    public static StandardStreams Take(bool json)
    {
        var charset = Console.OutputEncoding; // of the terminal
        if (charset is not UTF8Encoding)
            Console.OutputEncoding = Encoding.GetEncoding(charset.CodePage, new EscapeFallback(), DecoderFallback.ReplacementFallback);
        if (Console.IsErrorRedirected) Console.SetError(Writer(new Sink(Console.OpenStandardError, static _ => { })));
        if (!Console.IsOutputRedirected && !json) return new(output: null);
        var output = new Sink(Console.OpenStandardOutput, static error =>
            Console.Error.WriteLine($"standard output cannot be written: {error}; the command goes on without it"));
        Console.SetOut(Writer(output));
        return new(output);
    }

    /// <summary>The exit code of a command whose own is given: what it wrote did not arrive, which is no success.</summary>
    public int Ended(int code) => code == ExitCode.Done && _output is { HasFailed: true } ? ExitCode.Environment : code;

    private static StreamWriter Writer(Sink sink) =>
        new(sink, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)) { AutoFlush = true };

    /// <summary>A stream that takes everything, and gives up what is behind it with the first write that fails.</summary>
    private sealed class Sink(Func<Stream> open, Action<string> failed) : Stream
    {
        private Stream? _behind;

        public bool HasFailed { get; private set; }

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (HasFailed) return;
            try
            {
                (_behind ??= open()).Write(buffer);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                HasFailed = true;
                failed(e is UnauthorizedAccessException ? "it is closed" : e.Message.TrimEnd('.'));
            }
        }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
