using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Local;
using FedRLora.Training.Devices;

namespace FedRLora.Client.Commands;

/// <summary>The options that say what the silo of a process works on.</summary>
internal sealed class WorkOptions
{
    /// <summary>How many groups it trains side by side.</summary>
    public Option<int?> Lanes { get; } = SharedOptions.Number(
        "--lanes", "Groups that train side by side; by default as many as there are processors, one on a GPU. No result depends on it",
        1, 1024);

    /// <summary>The devices that it trains on.</summary>
    public Option<string?> Devices { get; } = new("--device")
    {
        Description = "Devices to train on: cpu (default), parts of the processor, as cpu:0,cpu:1, or GPUs, as cuda:0,cuda:1; each with "
            + "lanes and a frozen base of its own. No result depends on how many they are",
        HelpName = "DEVICES",
    };

    /// <summary>What was given.</summary>
    /// <exception cref="BadInputException">A device is none.</exception>
    /// <exception cref="EnvironmentException">A device is not there, or does not compute what it should.</exception>
    public Workplace Read(ParseResult parsed)
    {
        var devices = DeviceNames.Parse("--device", parsed.GetValue(Devices) ?? DeviceNames.Cpu);
        return Gpus.Problem(devices) is { } problem ? throw new EnvironmentException($"--device: {problem}")
            : new(parsed.GetValue(Lanes), devices);
    }

    /// <summary>Refuses what a run on silos that run already has no use for.</summary>
    /// <exception cref="BadInputException">One of them was given.</exception>
    public void RefuseOfThisProcess(ParseResult parsed)
    {
        var given = parsed.GetValue(Lanes) is not null ? "--lanes" : parsed.GetValue(Devices) is not null ? "--device" : null;
        if (given is not null)
            throw new BadInputException(
                $"{given} is for a run in this process; a silo that runs was given its own, with fedrlora silo {given}.");
    }
}
