using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Silos;

/// <summary>What a silo has measured of itself, where its host keeps that.</summary>
public interface ISiloAccount
{
    /// <summary>What it has sent, received and asked of its stores.</summary>
    SiloTraffic Traffic();
}
