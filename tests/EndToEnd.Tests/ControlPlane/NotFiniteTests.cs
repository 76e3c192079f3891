using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Views;
using FedRLora.EndToEnd.Tests.Client;

namespace FedRLora.EndToEnd.Tests.ControlPlane;

/// <summary>What is no number is null with what it was beside it, and means say how many clients they leave out.</summary>
public sealed class NotFiniteTests
{
    [Fact]
    public void A_loss_that_is_not_finite_is_null_with_what_it_was_and_the_mean_is_of_the_rest()
    {
        var line = LineOf(client => client.Id switch
        {
            "a" => client with { Numbers = client.Numbers with { MeanLoss = double.NaN } },
            "b" => client with { Numbers = client.Numbers with { MeanLoss = double.PositiveInfinity } },
            _ => client,
        });

        Assert.Equal((1.5, 2), (line.GetProperty("meanLoss").GetDouble(), line.GetProperty("meanLossLeftOut").GetInt32()));
        var loss = line.GetProperty("summary").GetProperty("loss");
        Assert.Equal((1, 2), (loss.GetProperty("n").GetInt32(), loss.GetProperty("leftOut").GetInt32()));
        Assert.Equal(1.5, loss.GetProperty("worst").GetDouble());
        var clients = line.GetProperty("clients");
        Assert.False(clients[0].TryGetProperty("meanLoss", out _));
        Assert.Equal("NaN", clients[0].GetProperty("notFinite").GetProperty("meanLoss").GetString());
        Assert.Equal("Infinity", clients[1].GetProperty("notFinite").GetProperty("meanLoss").GetString());
        Assert.False(clients[2].TryGetProperty("notFinite", out _));
    }

    [Fact]
    public void Every_number_of_a_client_that_is_not_finite_is_named()
    {
        var line = LineOf(static client => client with
        {
            Weight = double.NaN,
            Numbers = client.Numbers with { ProductNorm = double.NaN, GateUse = new("q", 0, double.NaN, 0, 1) },
            Score = client.Score! with
            {
                Value = double.NaN, Loss = double.NaN, MajorityShare = double.NaN, StandardError = double.NaN,
                Base = new() { Reference = double.NegativeInfinity },
            },
        });

        var client = line.GetProperty("clients")[0];
        string[] names = ["baseScore", "gateShare", "majorityShare", "productNorm", "score", "standardError", "testLoss", "weight"];
        Assert.Equal(names, client.GetProperty("notFinite").EnumerateObject().Select(static one => one.Name));
        Assert.All([.. names, "base", "gateUse"], name => Assert.False(client.TryGetProperty(name, out _), name));
        Assert.Equal(3, line.GetProperty("meanScoreLeftOut").GetInt32());
        Assert.False(line.TryGetProperty("meanScore", out _));
        Assert.DoesNotContain("NaN", MetricsText.Csv([View(static client => client with
        {
            Numbers = client.Numbers with { GateUse = new("q", 0, double.NaN, 0, 1) },
            Score = client.Score! with { Base = new() { Reference = double.NaN, StandardError = double.NaN } },
        })]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_zero_that_stands_for_what_was_refused_is_not_shown_as_measured()
    {
        var line = LineOf(static client => client.Id != "a" ? client : client with
        {
            Outcome = ClientOutcome.Refused, Reason = "Its mean loss is NaN.", Update = null,
            Numbers = client.Numbers with { MeanLoss = 0 },
        });

        var refused = line.GetProperty("clients")[0];
        Assert.False(refused.TryGetProperty("meanLoss", out _));
        Assert.Equal("Its mean loss is NaN.", refused.GetProperty("reason").GetString());
        Assert.Equal((1.5, 1), (line.GetProperty("meanLoss").GetDouble(), line.GetProperty("meanLossLeftOut").GetInt32()));
        var trouble = line.GetProperty("summary").GetProperty("troubles")[0];
        Assert.Equal(("refused", "Its mean loss is NaN.", 1),
            (trouble.GetProperty("what").GetString(), trouble.GetProperty("reason").GetString(), trouble.GetProperty("count").GetInt32()));
    }

    [Fact]
    public void A_task_says_how_many_of_its_clients_its_means_leave_out()
    {
        var view = View(static client => client.Id != "b" ? client : client with
        {
            Score = null, ScoreReason = "Its accuracy is NaN, its loss 1.", Numbers = client.Numbers with { MeanLoss = double.NaN },
        });

        var task = view.Tasks.Single(static task => task.Task == "sst2");
        Assert.Equal((1, 1, 1), (task.Scored, task.ScoreLeftOut, task.MeanLossLeftOut));
        Assert.EndsWith(",1,1", MetricsText.TaskCsv([view]).Split("\r\n")[1], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(new[] { 4.0, 1, 3, 2, 5 }, 3, 1.4, 3, 4.6, 5)]
    [InlineData(new[] { 2.0 }, 2, 2, 2, 2, 2)]
    [InlineData(new[] { 1.0, 2 }, 1.5, 1.1, 1.5, 1.9, 2)]
    public void Quantiles_are_of_all_clients(double[] values, double mean, double p10, double median, double p90, double worst)
    {
        var spread = Spread.Of([.. values.Select(static value => (double?)value), double.NaN, null], values.Length + 2, highIsBad: true);

        Assert.Equal((values.Length, 2), (spread.N, spread.LeftOut));
        Assert.Equal([mean, p10, median, p90, worst],
            new[] { spread.Mean, spread.P10, spread.Median, spread.P90, spread.Worst }.Select(static value => Math.Round(value!.Value, 9)));
    }

    [Fact]
    public void The_worst_of_a_score_is_its_smallest_and_of_a_perplexity_its_largest()
    {
        Assert.Equal(0.3, RoundAggregate.Of(View(static client => client)).Score!.Worst!.Value, 9);
        var perplexity = RoundAggregate.Of(View(static client => client with
        {
            Score = client.Score! with { Metric = "perplexity", Value = client.Id == "b" ? 9 : 3 },
        }));
        Assert.Equal((9, 5), (perplexity.Score!.Worst, perplexity.Score.Mean));
    }

    [Fact]
    public void A_line_has_the_version_of_the_schema_first()
    {
        Assert.StartsWith("{\"schema\":1,\"round\":1,", MetricsText.JsonLine(View(static client => client)), StringComparison.Ordinal);
        Assert.Equal(
            "{\"schema\":1,\"kind\":\"atWork\",\"loss\":null}", Json.Line(new { Kind = HoldKind.AtWork, Loss = double.NaN, Schema = 7 }));
        Assert.Equal("{\n  \"schema\": 1,\n  \"a\": \"<b>\"\n}", Json.Page(new { A = "<b>" }));
        Assert.Throws<ArgumentException>(() => Json.Line(new[] { 1 }));
    }

    private static JsonElement LineOf(Func<ManifestClient, ManifestClient> change) =>
        JsonDocument.Parse(MetricsText.JsonLine(View(change))).RootElement;

    private static RoundView View(Func<ManifestClient, ManifestClient> change) => RoundView.Of(Round(change), SampleRun.Plan);

    private static RoundSummary Round(Func<ManifestClient, ManifestClient> change)
    {
        var round = SampleRun.Round(1);
        return round with { Manifest = round.Manifest with { Clients = [.. round.Manifest.Clients.Select(change)] } };
    }
}
