using FedRLora.Training.Devices;

namespace FedRLora.Client.Local;

/// <summary>What the silo of a process works on.</summary>
/// <param name="Lanes">Groups that train side by side; null for as many as there are processors, one on a GPU.</param>
/// <param name="Devices">The devices (<see cref="DeviceNames"/>).</param>
/// <param name="Trainers">Those of several runs one after another, which keep the base and its scores between them; null for own
/// ones.</param>
internal sealed record Workplace(int? Lanes, IReadOnlyList<string> Devices, DeviceTrainers? Trainers = null);
