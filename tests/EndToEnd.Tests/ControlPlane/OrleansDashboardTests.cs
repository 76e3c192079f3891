using System.Net;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.EndToEnd.Tests.ControlPlane;

/// <summary>Orleans' own dashboard shows the state of grains: it is there where it was asked for, and for operators alone.</summary>
public sealed class OrleansDashboardTests : IDisposable
{
    private static readonly string[] Paths = ["/orleans/", "/orleans/ClusterStats", "/orleans/index.min.js"];
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-dashboard-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task It_is_for_operators_where_it_was_switched_on(bool isOn)
    {
        var (silo, gateway) = SiloPorts.Free();
        var tokens = Path.Combine(_folder, "token");
        using var host = SiloHost.Create(
            new SiloOptions
            {
                Name = "one", Sites = ["*"], Root = _folder, Store = Path.Combine(_folder, "store"), SiloPort = silo, GatewayPort = gateway,
                Control = ControlOptions.OnPort(0) with { TokenFile = tokens, OrleansDashboard = isOn },
            },
            static builder => builder.Logging.SetMinimumLevel(LogLevel.None));
        await host.StartAsync();
        using var client = new HttpClient { BaseAddress = host.Services.GetRequiredService<ControlServer>().Address };

        foreach (var path in Paths)
        {
            Assert.Equal(isOn ? HttpStatusCode.Unauthorized : HttpStatusCode.NotFound, await StatusAsync(path, token: null));
            Assert.Equal(isOn ? HttpStatusCode.Forbidden : HttpStatusCode.NotFound,
                await StatusAsync(path, TokenFiles.Read(TokenFiles.ViewerOf(tokens))));
            Assert.Equal(isOn ? HttpStatusCode.OK : HttpStatusCode.NotFound, await StatusAsync(path, TokenFiles.Read(tokens)));
        }

        await host.StopAsync();

        async Task<HttpStatusCode> StatusAsync(string path, string? token)
        {
            using var asked = new HttpRequestMessage(HttpMethod.Get, path);
            if (token is not null) asked.Headers.Authorization = new("Bearer", token);
            using var answer = await client.SendAsync(asked);
            return answer.StatusCode;
        }
    }
}
