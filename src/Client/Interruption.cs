using System.Runtime.InteropServices;

namespace FedRLora.Client;

/// <summary>Ctrl-C and SIGTERM: the first asks the command to stop and keep what it has, the second leaves at once.</summary>
internal sealed class Interruption : IDisposable
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
                    Environment.Exit(ExitCode.Interrupted);
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
}
