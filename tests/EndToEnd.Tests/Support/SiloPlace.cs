using System.Runtime.CompilerServices;
using FedRLora.ControlPlane.Access;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Where the first silo of a test listens, that others join and commands talk to.</summary>
internal sealed class SiloPlace
{
    private readonly int[] _ports = FreePorts.Take(3);

    /// <summary>The port between silos.</summary>
    public int Silo => _ports[0];

    /// <summary>The port for clients of the cluster.</summary>
    public int Gateway => _ports[1];

    /// <summary>Where its control plane answers.</summary>
    public string Url => $"http://127.0.0.1:{_ports[2]}";

    /// <summary>The options of the first silo.</summary>
    public string[] Own => ["--port", $"{Silo}", "--gateway", $"{Gateway}", "--control", $"{_ports[2]}"];

    /// <summary>The options of a silo that joins it.</summary>
    public string[] Join => ["--join", $"{Silo}"];

    /// <summary>The options of a command to it.</summary>
    public string[] To => ["--server", Url];

    /// <summary>The same as a part of a line, with the file of its token, which a command would find by itself.</summary>
    public string Options => $"--server {Url} --token-file {TokenFiles.PathFor(_ports[2])}";
}

/// <summary>Tokens of silos and what else this user keeps go to a folder that ends with the tests.</summary>
internal static class StateOfTests
{
#pragma warning disable CA2255 // before the first silo, whichever test starts it
    [ModuleInitializer]
#pragma warning restore CA2255
    internal static void Begin()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-state-");
        Environment.SetEnvironmentVariable("XDG_STATE_HOME", folder.FullName);
        AppDomain.CurrentDomain.ProcessExit += (_, _) => folder.Delete(recursive: true);
    }
}
