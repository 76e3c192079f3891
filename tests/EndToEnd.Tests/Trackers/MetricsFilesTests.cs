using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.RunFolder;
using FedRLora.EndToEnd.Tests.Client;

namespace FedRLora.EndToEnd.Tests.Trackers;

/// <summary>The files of a run that grow with its rounds.</summary>
public sealed class MetricsFilesTests : IDisposable
{
    private static readonly DateTimeOffset Start = new(2026, 3, 4, 5, 6, 7, 250, TimeSpan.Zero);

    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-metrics-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void TensorBoard_has_the_numbers_of_the_lines_rounded_to_what_it_keeps_at_the_time_of_the_commit()
    {
        Files().Write(Rounds());

        var events = EventRecords.Read(EventRecords.FileIn(_folder, "tb"));
        Assert.Equal("brain.Event:2", events[0].FileVersion);
        Assert.Equal([0, 1, 2, 3], events.Skip(1).Select(static one => one.Step));
        Assert.Equal(Rounds().Select(static round => At(round.Manifest.Round)), events.Skip(1).Select(static one => one.WallTime));
        var points = EventRecords.Points(EventRecords.FileIn(_folder, "tb"));
        var lines = File.ReadLines(Path.Combine(_folder, "metrics.jsonl"));
        foreach (var line in lines.Select(static line => JsonDocument.Parse(line).RootElement))
        {
            var (step, summary) = (line.GetProperty("round").GetInt64(), line.GetProperty("summary"));
            foreach (var (tag, key) in new[] { ("loss", "loss"), ("score", "score"), ("update norm", "norm") })
            {
                foreach (var part in new[] { "mean", "p10", "median", "p90", "worst" })
                {
                    var isThere = summary.GetProperty(key).TryGetProperty(part, out var value);
                    Assert.Equal(isThere, points.TryGetValue((step, $"{tag}/{part}"), out var point));
                    if (isThere) Assert.Equal((float)value.GetDouble(), point);
                }
            }

            Assert.Equal((float)line.GetProperty("updateBytes").GetDouble(), points[(step, "bytes sent")]);
            Assert.Equal(step > 0 ? 3 : 0, points.GetValueOrDefault((step, "clients/trained")));
        }
    }

    [Fact]
    public void A_number_that_is_none_has_no_point()
    {
        var round = SampleRun.Round(1);
        var clients = round.Manifest.Clients.Select(static client => client with
        {
            MeanLoss = client.Id == "a" ? double.NaN : double.PositiveInfinity,
            ProductNorm = 1e300,
        });
        Files().Write([SampleRun.Round(0), round with { Manifest = round.Manifest with { Clients = [.. clients] } }]);

        var points = EventRecords.Points(EventRecords.FileIn(_folder, "tb"));
        Assert.DoesNotContain(points.Keys, static key => key is { Step: 1, Tag: "loss/mean" or "loss by task/sst2" or "update norm/mean" });
        Assert.Equal(3, points[(1, "loss/left out")]);
        Assert.All(points.Values, static value => Assert.True(float.IsFinite(value)));
    }

    [Fact]
    public void Files_of_fewer_rounds_are_the_beginning_of_those_of_more()
    {
        var files = Files();
        files.Write(Rounds()[..2]);
        var before = Contents();

        files.Write(Rounds());

        Assert.Equal(4, before.Count);
        foreach (var (name, bytes) in Contents())
        {
            Assert.Equal(before[name], bytes[..before[name].Length]);
            Assert.True(bytes.Length > before[name].Length, name);
        }
    }

    [Theory]
    [InlineData(0.0)]
    [InlineData(0.31)]
    [InlineData(0.87)]
    [InlineData(1.0)]
    public void What_a_kill_left_half_written_is_whole_after_the_run_is_taken_up(double share)
    {
        Files().Write(Rounds());
        var whole = Contents();
        foreach (var (name, bytes) in whole) File.WriteAllBytes(Path.Combine(_folder, name), bytes[..(int)(share * bytes.Length)]);

        Files().Write(Rounds());

        Assert.Equal(whole, Contents());
    }

    [Fact]
    public void Rounds_that_are_not_committed_any_more_are_in_no_file()
    {
        Files().Write(Rounds()[..2]);
        var expected = Contents();
        Files().Write(Rounds());

        Files().Write(Rounds()[..2]);

        Assert.Equal(expected, Contents());
    }

    [Fact]
    public void A_file_that_was_changed_meanwhile_is_written_anew()
    {
        var files = Files();
        files.Add(Rounds()[..2]);
        var path = Path.Combine(_folder, "metrics.csv");
        File.WriteAllText(path, "");

        Assert.Throws<IOException>(() => files.Add(Rounds()[..3]));
        files.Write(Rounds());

        var changed = Contents();
        Directory.Delete(Path.Combine(_folder, "tb"), recursive: true);
        File.Delete(path);
        Files().Write(Rounds());
        Assert.Equal(Contents(), changed);
    }

    [Fact]
    public void A_link_at_the_place_of_a_file_keeps_what_it_names()
    {
        var mine = Path.Combine(_folder, "mine.txt");
        File.WriteAllText(mine, "mine");
        File.CreateSymbolicLink(Path.Combine(_folder, "metrics.csv"), mine);

        Files().Write(Rounds());

        Assert.Equal("mine", File.ReadAllText(mine));
        Assert.Null(new FileInfo(Path.Combine(_folder, "metrics.csv")).LinkTarget);
    }

    [Fact]
    public void Rounds_without_a_commit_time_come_their_seconds_after_one_another()
    {
        Files().Write(SampleRun.Rounds());

        var events = EventRecords.Read(EventRecords.FileIn(_folder, "tb"));
        Assert.Equal([0, 2.08, 4.16, 6.24], events.Skip(1).Select(static one => Math.Round(one.WallTime, 6)));
    }

    private MetricsFiles Files() => new(_folder, Path.Combine(_folder, "tb"), StoreMode.Private, SampleRun.Plan);

    private static List<RoundSummary> Rounds() =>
    [
        .. SampleRun.Rounds().Select(static round => round with
        {
            Timing = new() { CommittedAt = Start.AddSeconds(2.5 * round.Manifest.Round), Attempts = 1 },
        }),
    ];

    private static double At(int round) => (Start - DateTimeOffset.UnixEpoch).TotalSeconds + 2.5 * round;

    private Dictionary<string, byte[]> Contents() => Directory.GetFiles(_folder, "*", SearchOption.AllDirectories)
        .ToDictionary(path => Path.GetRelativePath(_folder, path), File.ReadAllBytes);
}
