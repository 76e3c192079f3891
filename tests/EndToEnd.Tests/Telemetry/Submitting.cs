using System.Net.Http.Headers;
using System.Text.Json;
using FedRLora.ControlPlane.Access;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>Begins runs over a silo's control plane.</summary>
internal static class Submitting
{
    /// <summary>Submits a plan as the run <c>tiny</c>.</summary>
    public static async Task SubmitAsync(int port, string tokenFile, string plan)
    {
        using var client = new HttpClient();
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", TokenFiles.Read(tokenFile));
        using var body = new StringContent(
            JsonSerializer.Serialize(new { run = "tiny", plan = await File.ReadAllTextAsync(plan) }), null, "application/json");
        using var answer = await client.PostAsync($"http://127.0.0.1:{port}/v1/runs", body);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
    }
}
