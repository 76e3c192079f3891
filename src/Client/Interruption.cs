using System.Runtime.InteropServices;

namespace FedRLora.Client;

/// <summary>Ctrl-C and SIGTERM: the first asks the command to stop and keep what it has, the second leaves at once.</summary>
internal sealed partial class Interruption : IDisposable
{
    private readonly CancellationTokenSource _source = new();
    private readonly List<PosixSignalRegistration> _signals = [];

    public Interruption(TextWriter error)
    {
        foreach (var signal in new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM })
        {
            _signals.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                if (_source.IsCancellationRequested)
                    LeaveAtOnce();
                error.WriteLine("Stopping; what is committed is kept. Press Ctrl-C again to leave at once.");
                _source.Cancel();
            }));
        }
    }

    public CancellationToken Token => _source.Token;

    public void Dispose()
    {
        foreach (var signal in _signals)
            signal.Dispose();
        _source.Dispose();
    }

    // Environment.Exit runs native clean-up under threads that are still in libtorch, which crashes.
    private static void LeaveAtOnce()
    {
        if (!OperatingSystem.IsWindows()) ExitNow(ExitCode.Interrupted);
        Environment.Exit(ExitCode.Interrupted);
    }

    [LibraryImport("libc", EntryPoint = "_exit")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void ExitNow(int code);
}
