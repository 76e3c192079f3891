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
        await PostAsync(port, tokenFile, null, JsonSerializer.Serialize(new { run = "tiny", plan = await File.ReadAllTextAsync(plan) }));
    }

    /// <summary>Asks something of the run <c>tiny</c>, or for it.</summary>
    public static async Task PostAsync(int port, string tokenFile, string? action, string body = "{}")
    {
        using var client = new HttpClient();
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", TokenFiles.Read(tokenFile));
        using var content = new StringContent(body, null, "application/json");
        using var answer = await client.PostAsync($"http://127.0.0.1:{port}/v1/runs{(action is null ? "" : $"/tiny/{action}")}", content);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
    }
}
