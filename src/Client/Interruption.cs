using System.Runtime.InteropServices;
using FedRLora.Training;


namespace FedRLora.Client;

/// <summary>
/// Ctrl-C, SIGTERM and SIGHUP: the first asks the command to stop and keep what it has, the second leaves at once. Who sends SIGTERM or
/// SIGHUP does not wait long, so after a moment the program leaves by itself, in mid-step: what is committed needs no farewell.
/// </summary>
internal sealed class Interruption : IDisposable
{
    private static readonly TimeSpan Moment = TimeSpan.FromSeconds(1.5);

    private readonly CancellationTokenSource _source = new();
    private readonly List<PosixSignalRegistration> _signals = [];
    private readonly ManualResetEventSlim _ended = new();

    /// <param name="error">Hears that the command stops.</param>
    /// <param name="takesItsTime">Whether the command takes its leave of others first, as a silo does.</param>
    /// <param name="asksOnly">Whether the command runs nothing itself, so that it says in its own words what goes on without it.</param>
    public Interruption(TextWriter error, bool takesItsTime, bool asksOnly)
    {
        foreach (var signal in new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP })
        {
            _signals.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                if (_source.IsCancellationRequested)
                    LeaveAtOnce(error);
                if (signal != PosixSignal.SIGINT && !takesItsTime)
                    InBackground(() => LeaveAfterAMoment(error));
                if (!asksOnly) error.WriteLine(Form("Stopping; what is committed is kept. Press Ctrl-C again to leave at once."));
                _source.Cancel();
            }));
        }
    }

    public CancellationToken Token => _source.Token;

    /// <summary>How a line for standard error is written: a silo whose log is JSON says this as JSON too.</summary>
    public static Func<string, string> Form { get; set; } = static line => line;

    /// <summary>What is said last where the command is left in mid-step and cannot say it: how what it began goes on.</summary>
    public static string? LastWord { get; set; }

    public void Dispose()
    {
        foreach (var signal in _signals)
            signal.Dispose();
        _ended.Set();
        _source.Dispose();
    }

    // On threads of their own: those of the pool may all be in a step.
    private static Thread InBackground(Action action)
    {
        var thread = new Thread(() => action()) { IsBackground = true };
        thread.Start();
        return thread;
    }

    private void LeaveAfterAMoment(TextWriter error)
    {
        if (!_ended.Wait(Moment)) LeaveAtOnce(error);
    }

    private static void LeaveAtOnce(TextWriter error)
    {
        // who reads standard error may have stopped reading
        if (LastWord is { } line) InBackground(() => error.WriteLine(line)).Join(Moment / 10);
        NativeExit.Leave(ExitCode.Interrupted);
    }
}
