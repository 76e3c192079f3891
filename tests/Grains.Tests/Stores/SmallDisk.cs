using FedRLora.Grains.Tests.PowerCuts;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

/// <summary>A disk on which no file may be longer than there is room.</summary>
internal sealed class SmallDisk(IDisk inner, Func<int> room) : DiskDecorator(inner)
{
    private const int NoSpace = 28; // ENOSPC

    public override IDiskFile Create(string path) => new SmallFile(base.Create(path), room);

    private sealed class SmallFile(IDiskFile inner, Func<int> room) : DiskFileDecorator(inner)
    {
        public override void Write(ReadOnlySpan<byte> bytes, long offset)
        {
            if (offset + bytes.Length > room()) throw new IOException("The disk of this test is full.", NoSpace);
            base.Write(bytes, offset);
        }
    }
}
