using FedRLora.Abstractions;

namespace FedRLora.Grains.Coordination;

/// <summary>How many series with a client as label the runs of a silo may have together.</summary>
internal sealed class ClientSeries(GrainSettings settings)
{
    private readonly Lock _gate = new();
    private int _taken;

    /// <summary>The bound in series; 0 where nobody asked for any.</summary>
    public int Most => settings.ClientSeries;

    /// <summary>Takes series for clients.</summary>
    /// <returns>For how many of them there is room.</returns>
    public int Take(int clients)
    {
        lock (_gate)
        {
            var taken = Math.Min(clients, (Most - _taken) / Telemetry.SeriesOfClient);
            _taken += taken * Telemetry.SeriesOfClient;
            return taken;
        }
    }

    /// <summary>Gives back what clients had.</summary>
    public void Return(int clients)
    {
        lock (_gate) _taken -= clients * Telemetry.SeriesOfClient;
    }
}
