using System.Net;
using System.Net.Sockets;
using FedRLora.Silo;

namespace FedRLora.EndToEnd.Tests.Federation;

public class PortTests
{
    [Fact]
    public async Task A_silo_on_a_used_port_is_refused()
    {
        using var used = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        used.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true); // as Orleans listens
        used.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        used.Listen();
        var (port, free) = (((IPEndPoint)used.LocalEndPoint!).Port, SiloPorts.Free().Gateway);

        var silo = await CommandLine.RunAsync("silo", "--site", "here", "--port", $"{port}", "--gateway", $"{free}");
        var gateway = await CommandLine.RunAsync("silo", "--site", "here", "--port", $"{free}", "--gateway", $"{port}");

        Assert.Equal((3, $"port {port} is in use on 127.0.0.1; join that silo with --join {port}, or give --port and --gateway\n"),
            (silo.Code, silo.Error));
        Assert.Equal((3, $"port {port} is in use on 127.0.0.1; give another --gateway\n"), (gateway.Code, gateway.Error));
    }

    [Fact]
    public async Task A_silo_does_not_wait_for_ever_for_one_to_join()
    {
        var port = SiloPorts.Free().Silo;

        var result = await CommandLine.RunAsync("silo", "--site", "here", "--join", $"{port}");

        Assert.Equal((3, $"no silo answers on 127.0.0.1:{port}; start the first silo, or give its port to --join\n"),
            (result.Code, result.Error));
    }
}
