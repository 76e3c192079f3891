using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Exports;

/// <summary>
/// A file in pieces that grain messages may carry. Each says how long the whole is, so all are there before the first is sent.
/// </summary>
internal static class FilePieces
{
    private const int LongestPiece = 256 << 10;

    /// <summary>The pieces, in order; one where the file is empty.</summary>
    /// <param name="file">The file's name.</param>
    /// <param name="write">Writes its content, on the caller's thread.</param>
    public static IReadOnlyList<FilePiece> Of(string file, Action<Stream> write)
    {
        using var cut = new CuttingStream();
        write(cut);
        return [.. cut.Pieces().Select(piece => new FilePiece(file, piece, cut.Length))];
    }

    private sealed class CuttingStream : Stream
    {
        private readonly List<byte[]> _whole = [];
        private readonly byte[] _last = new byte[LongestPiece];
        private int _used;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => ((long)_whole.Count * LongestPiece) + _used;

        public override long Position
        {
            get => Length;
            set => throw new NotSupportedException();
        }

        public IEnumerable<byte[]> Pieces() => _used == 0 && _whole.Count > 0 ? _whole : _whole.Append(_last[.._used]);

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            while (buffer.Length > 0)
            {
                var taken = Math.Min(buffer.Length, LongestPiece - _used);
                buffer[..taken].CopyTo(_last.AsSpan(_used));
                _used += taken;
                buffer = buffer[taken..];
                if (_used < LongestPiece) return;
                _whole.Add([.. _last]);
                _used = 0;
            }
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
