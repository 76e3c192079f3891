using System.Formats.Tar;
using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Http;

/// <summary>Files that come in pieces, one after the other, as a tar archive; nothing of them is kept.</summary>
internal static class TarOfPieces
{
    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Writes the archive.</summary>
    public static async Task WriteAsync(IAsyncEnumerable<FilePiece> pieces, Stream target, CancellationToken cancellationToken)
    {
        await using var tar = new TarWriter(target, TarEntryFormat.Pax, leaveOpen: true);
        await using var enumerator = pieces.GetAsyncEnumerator(cancellationToken);
        for (var isThere = await enumerator.MoveNextAsync(); isThere;)
        {
            var file = new PieceStream(enumerator);
            var entry = new PaxTarEntry(TarEntryType.RegularFile, enumerator.Current.File)
            {
                DataStream = file, Mode = Owner, ModificationTime = DateTimeOffset.UnixEpoch,
            };
            await tar.WriteEntryAsync(entry, cancellationToken);
            isThere = file.HasNext;
        }
    }

    /// <summary>One file of the pieces. It says its length, which an entry begins with.</summary>
    private sealed class PieceStream(IAsyncEnumerator<FilePiece> pieces) : Stream
    {
        private readonly string _file = pieces.Current.File;
        private readonly long _length = pieces.Current.SizeBytes;
        private long _position;
        private int _inPiece;
        private bool _isOver;

        /// <summary>Whether the pieces go on with another file.</summary>
        public bool HasNext { get; private set; }

        public override bool CanRead => true;

        public override bool CanSeek => true;

        public override bool CanWrite => false;

        public override long Length => _length;

        public override long Position
        {
            get => _position;
            set => throw new NotSupportedException();
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            while (!_isOver && _inPiece == pieces.Current.Content.Length) await NextAsync();
            if (_isOver)
            {
                return _position == _length ? 0
                    : throw new IOException($"{_file} was cut at {_position} of {_length} bytes on its way from its site.");
            }

            var count = Math.Min(buffer.Length, pieces.Current.Content.Length - _inPiece);
            pieces.Current.Content.AsMemory(_inPiece, count).CopyTo(buffer);
            (_inPiece, _position) = (_inPiece + count, _position + count);
            if (_position == _length) await NextAsync(); // the archive asks no more once it has what was announced
            return count;
        }

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        private async Task NextAsync()
        {
            var isThere = await pieces.MoveNextAsync();
            HasNext = isThere && pieces.Current.File != _file;
            _isOver = !isThere || HasNext;
            _inPiece = 0;
        }
    }
}
