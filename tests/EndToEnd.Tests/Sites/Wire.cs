using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using FedRLora.Federation.Numerics;

namespace FedRLora.EndToEnd.Tests.Sites;

/// <summary>
/// A network of this process: an Ethernet hub between TAP devices, one in each network namespace, that can be cut, slow or lossy. Not every
/// kernel has netem, and a device that goes down is noticed by its owner, as a cable that is cut further away is not.
/// </summary>
internal sealed partial class Wire : IDisposable
{
    private const int ReadWrite = 2, SetInterface = 0x400454ca, Readable = 1;
    private const short TapWithoutHeader = 0x1002;
    private readonly Port[] _ports;
    private readonly SplitMix64 _random = new(7);
    private readonly ManualResetEventSlim _stopped = new();
    private volatile bool _stopping;

    /// <summary>Makes the devices in this process's namespace; whoever owns a namespace moves its device there.</summary>
    public Wire(IReadOnlyList<string> devices)
    {
        _ports = [.. devices.Select(static device => new Port(device, Open(device)))];
        foreach (var port in _ports)
        {
            new Thread(() => Read(port)) { IsBackground = true, Name = $"from {port.Device}" }.Start();
            new Thread(() => Write(port)) { IsBackground = true, Name = $"to {port.Device}" }.Start();
        }
    }

    /// <summary>How long a frame takes.</summary>
    public TimeSpan Delay { get; set; }

    /// <summary>The share of frames that are lost.</summary>
    public double Loss { get; set; }

    /// <summary>Frames that were lost by <see cref="Loss"/> or to a cut.</summary>
    public long Lost => _lost;

    private long _lost;

    /// <summary>Cuts a device off, or connects it again.</summary>
    public void Cut(string device, bool isCut) => _ports.Single(port => port.Device == device).IsCut = isCut;

    public void Dispose()
    {
        _stopping = true;
        _stopped.Set();
        foreach (var port in _ports) port.Frames.CompleteAdding();
        foreach (var port in _ports) port.Ended.Wait(TimeSpan.FromSeconds(5));
        foreach (var port in _ports) _ = Close(port.Handle);
        _stopped.Dispose();
    }

    private void Read(Port from)
    {
        var frame = new byte[65_536];
        while (!_stopping)
        {
            var polled = new Polled { Handle = from.Handle, Events = Readable };
            if (Poll(ref polled, 1, 100) <= 0) continue;
            var length = (int)Read(from.Handle, frame, frame.Length);
            if (length <= 0)
            {
                _stopped.Wait(20); // the namespace is being taken away, or the device is not up yet
                continue;
            }

            var due = Stopwatch.GetTimestamp() + (long)(Delay.TotalSeconds * Stopwatch.Frequency);
            foreach (var to in _ports)
            {
                if (to == from || to.Frames.IsAddingCompleted) continue;
                if (from.IsCut || to.IsCut || IsLost()) Interlocked.Increment(ref _lost);
                else to.Add(due, frame.AsSpan(0, length).ToArray());
            }
        }

        from.Ended.Signal();
    }

    private void Write(Port to)
    {
        foreach (var (due, frame) in to.Frames.GetConsumingEnumerable())
        {
            while (Stopwatch.GetElapsedTime(Stopwatch.GetTimestamp(), due) is { Ticks: > 0 } early && !_stopping)
                _stopped.Wait(early);
            if (!to.IsCut) _ = Write(to.Handle, frame, frame.Length); // one that the device does not take is lost, as on a wire
        }

        to.Ended.Signal();
    }

    private bool IsLost()
    {
        if (Loss <= 0) return false;
        lock (_random) return _random.NextUnit() < Loss;
    }

    private static int Open(string device)
    {
        var handle = Open("/dev/net/tun", ReadWrite);
        if (handle < 0) throw new IOException($"/dev/net/tun: {Marshal.GetLastPInvokeErrorMessage()}");
        var request = new byte[40]; // struct ifreq: a name of 16 bytes, then flags
        Encoding.ASCII.GetBytes(device, request);
        BitConverter.TryWriteBytes(request.AsSpan(16), TapWithoutHeader);
        if (Control(handle, SetInterface, request) < 0) throw new IOException($"{device}: {Marshal.GetLastPInvokeErrorMessage()}");
        return handle;
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(int handle, nuint request, [In, Out] byte[] argument);

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(ref Polled polled, nuint count, int milliseconds);

    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint Read(int handle, [Out] byte[] frame, nint length);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint Write(int handle, [In] byte[] frame, nint length);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int handle);

    [StructLayout(LayoutKind.Sequential)]
    private struct Polled
    {
        public int Handle;
        public short Events;
        public short Returned;
    }

    private sealed record Port(string Device, int Handle)
    {
        public volatile bool IsCut;

        public BlockingCollection<(long Due, byte[] Frame)> Frames { get; } = new(100_000);

        public CountdownEvent Ended { get; } = new(2);

        public void Add(long due, byte[] frame)
        {
            try
            {
                Frames.TryAdd((due, frame));
            }
            catch (InvalidOperationException)
            {
                // it was closed meanwhile
            }
        }
    }
}
