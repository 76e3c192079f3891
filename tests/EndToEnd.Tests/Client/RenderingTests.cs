using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;

namespace FedRLora.EndToEnd.Tests.Client;

public sealed class RenderingTests
{
    [Fact]
    public async Task In_a_pipe_every_round_is_one_plain_line()
    {
        var (output, error) = await FollowAsync(
            ScreenMode.Plain,
            SampleRun.Progress(JobStatus.Running, null, SampleRun.Round(0)),
            SampleRun.Progress(JobStatus.Running, null, SampleRun.Round(0), SampleRun.Round(1)),
            SampleRun.Progress(JobStatus.Finished, null, SampleRun.Round(2), SampleRun.Round(3)));

        Assert.Equal(
            """
            round 0/3  sst2 0.510  trec 0.200  mean 0.407
            round 1/3  loss 1.500  sst2 0.560  trec 0.300  mean 0.473  2.1 s
            round 2/3  loss 0.750  sst2 0.610  trec 0.400  mean 0.540  2.1 s
            round 3/3  loss 0.500  sst2 0.660  trec 0.500  mean 0.607  2.1 s

            """.ReplaceLineEndings("\n"),
            output.ReplaceLineEndings("\n"));
        Assert.Empty(error);
    }

    [Fact]
    public async Task Late_and_failed_clients_are_named()
    {
        var round = SampleRun.Round(1);
        round = round with
        {
            Manifest = round.Manifest with
            {
                Clients = [round.Manifest.Clients[0], round.Manifest.Clients[1] with { Outcome = ClientOutcome.Late },
                    round.Manifest.Clients[2] with { Outcome = ClientOutcome.Failed, Reason = "update has NaN" }],
            },
        };
        var (output, error) = await FollowAsync(ScreenMode.Plain, SampleRun.Progress(JobStatus.Failed, "the quorum was missed", round));

        Assert.EndsWith("  late: b  failed: c (update has NaN)", output.TrimEnd(), StringComparison.Ordinal);
        Assert.Equal("demo-1 failed in round 3: the quorum was missed", error.TrimEnd());
    }

    [Fact]
    public async Task What_sites_did_not_find_is_said_once_and_beside_the_rounds()
    {
        var missing = SampleRun.Progress(JobStatus.Running, null, SampleRun.Round(0)) with
        {
            Round = 1,
            Missing = ["b: sites/north/jobs/demo-1/clients/b/1/head.safetensors is missing; it should hold 00."],
        };

        var (output, error) = await FollowAsync(ScreenMode.Plain, missing, missing,
            SampleRun.Progress(JobStatus.Finished, null, SampleRun.Rounds()));

        Assert.Equal("round 1: b: sites/north/jobs/demo-1/clients/b/1/head.safetensors is missing; it should hold 00.", error.TrimEnd());
        Assert.Equal(4, output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
    }

    [Fact]
    public async Task With_json_every_round_is_one_object()
    {
        var (output, _) = await FollowAsync(ScreenMode.Json, SampleRun.Progress(JobStatus.Finished, null, SampleRun.Rounds()));

        var lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(4, lines.Length);
        using var last = JsonDocument.Parse(lines[3]);
        Assert.Equal(3, last.RootElement.GetProperty("round").GetInt32());
        Assert.Equal("trained", last.RootElement.GetProperty("clients")[0].GetProperty("outcome").GetString());
        Assert.Equal("sst2", last.RootElement.GetProperty("clients")[0].GetProperty("task").GetString());
        var task = last.RootElement.GetProperty("tasks")[0];
        Assert.Equal(("sst2", 2, 0.66), (task.GetProperty("task").GetString(), task.GetProperty("clients").GetInt32(),
            Math.Round(task.GetProperty("score").GetDouble(), 9)));
    }

    [Fact]
    public async Task On_a_terminal_hostile_names_are_text_not_markup()
    {
        var plan = SampleRun.Plan with
        {
            Clients = [.. SampleRun.Plan.Clients.Select(static client => client with { Task = "[red]" + client.Task })],
        };
        using var output = new StringWriter();
        var reporter = new RoundReporter(new Screen(ScreenMode.Terminal, output, TextWriter.Null), plan);

        await reporter.FollowAsync(Stream(SampleRun.Progress(JobStatus.Finished, null, SampleRun.Rounds())));

        Assert.Equal(3, reporter.LastRound);
        Assert.Contains("[red]sst2", output.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(12)]
    [InlineData(20)]
    [InlineData(40)]
    [InlineData(200)]
    public async Task On_a_terminal_of_any_width_names_and_numbers_stay_whole(int width)
    {
        using var output = new StringWriter();
        var screen = new Screen(ScreenMode.Terminal, output, TextWriter.Null);
        (screen.Console.Profile.Width, screen.Console.Profile.Height) = (width, 60);

        await new RoundReporter(screen, SampleRun.Plan).FollowAsync(
            Stream(SampleRun.Progress(JobStatus.Finished, null, SampleRun.Rounds())));

        var words = output.ToString().Split((char[])[' ', '\n', '\r', '│', '\e'], StringSplitOptions.RemoveEmptyEntries);
        Assert.All(["1.500", "0.750", "0.660", "0.607", "sst2", "trec"], word => Assert.Contains(word, words));
    }

    [Theory]
    [InlineData(20)]
    [InlineData(40)]
    public void Below_the_width_of_the_final_table_every_cell_has_a_line(int width)
    {
        using var output = new StringWriter();
        var screen = new Screen(ScreenMode.Terminal, output, TextWriter.Null);
        screen.Console.Profile.Width = width;

        screen.Show(FinalTable.Of(SampleRun.Plan, SampleRun.Rounds(gain: 0.1), SampleRun.Rounds(gain: 0.05), Versus), "runs/t-1");

        Assert.Contains("\na\n  task sst2\n  base 0.500\n  local 0.650\n  federated 0.800\n  s.e. 0.060\n  vs local +0.150\n  s.e. "
            + "0.040\n  majority 0.500\n  rows 40\n  sent 6.1 kB\nb\n", output.ToString(), StringComparison.Ordinal);
        Assert.Contains("\nmean\n  base 0.407\n", output.ToString(), StringComparison.Ordinal);
        Assert.EndsWith("Results: runs/t-1", output.ToString().TrimEnd(), StringComparison.Ordinal);
        Assert.All(output.ToString().Split('\n'), line => Assert.InRange(line.Length, 0, width));
    }

    [Fact]
    public void The_final_table_compares_with_the_local_only_run()
    {
        var table = FinalTable.Of(SampleRun.Plan, SampleRun.Rounds(gain: 0.1), SampleRun.Rounds(gain: 0.05), Versus);

        // a and b are scored on one file, c on another: sqrt((0.04 + 0.08)^2 + 0.16^2) / 3.
        Assert.Equal(
            """
            Outcome (accuracy)

            client  task   base  local  federated   s.e.  vs local   s.e.  majority  rows    sent
            ------  ----  -----  -----  ---------  -----  --------  -----  --------  ----  ------
            a       sst2  0.500  0.650      0.800  0.060    +0.150  0.040     0.500    40  6.1 kB
            b       sst2  0.520  0.670      0.820  0.060  +0.150 ~  0.080     0.500    40  6.1 kB
            c       trec  0.200  0.500      0.800  0.060  +0.300 ~  0.160     0.220    40  6.1 kB
            mean          0.407  0.607      0.807  0.045    +0.200  0.067     0.407        6.1 kB

            By task (accuracy)

            task  clients   base  local  federated   s.e.  vs base  s.e.  vs local   s.e.  majority
            ----  -------  -----  -----  ---------  -----  -------  ----  --------  -----  --------
            sst2        2  0.510  0.660      0.810  0.060   +0.300     -    +0.150  0.060     0.500
            trec        1  0.200  0.500      0.800  0.060   +0.600     -  +0.300 ~  0.160     0.220

            by task: the mean over its clients, each counting alike; s.e. at most, as if all had the same test rows
            ~ inside two standard errors (s.e., over test rows): other rows might as well show no difference

            """.ReplaceLineEndings("\n"),
            table.ToPlainText());
    }

    [Fact]
    public void A_task_has_paired_errors_against_the_base_and_the_local_only_run()
    {
        var rounds = SampleRun.Rounds(gain: 0.1).Select(static round => Scored(round, static client =>
            client with { Base = new() { Reference = 0.5, StandardError = client.Value < 0.81 ? 0.01 : 0.03 } })).ToList();

        var task = FinalTable.Of(SampleRun.Plan, rounds, SampleRun.Rounds(gain: 0.05), Versus).Tasks!.Rows[0];

        // a: 0.80 +- 0.01 from 0.5, 0.65 +- 0.04; b: 0.82 +- 0.03 from 0.5, 0.67 +- 0.08.
        Assert.Equal(("sst2", 2, 2, "accuracy"), (task.Task, task.Clients, task.Scored, task.Metric));
        Assert.Equal([0.81, 0.06, 0.31, 0.02, 0.15, 0.06], new[]
        {
            task.Federated, task.StandardError, task.BaseDifference, task.BaseError, task.LocalOnlyDifference, task.LocalOnlyError,
        }.Select(static value => Math.Round(value!.Value, 9)));
    }

    [Fact]
    public void A_local_only_run_that_was_stopped_before_is_not_compared_with()
    {
        var table = FinalTable.Of(SampleRun.Plan, SampleRun.Rounds(gain: 0.1), SampleRun.Rounds(gain: 0.05).SkipLast(1).ToList(), Versus);

        Assert.All(table.Clients, static row => Assert.Equal((null, null, null), (row.LocalOnly, row.Difference, row.DifferenceError)));
        Assert.All(table.Tasks!.Rows, static row => Assert.Equal((null, null), (row.LocalOnlyDifference, row.LocalOnlyError)));
    }

    [Fact]
    public void A_task_with_a_client_whose_error_is_not_known_has_none()
    {
        var table = FinalTable.Of(SampleRun.Plan, SampleRun.Rounds(gain: 0.1), SampleRun.Rounds(gain: 0.05),
            Versus.Where(static pair => pair.Key != "b").ToDictionary()).Tasks!;

        Assert.Equal(0.15, table.Rows[0].LocalOnlyDifference!.Value, 9);
        Assert.Equal((null, 0.16), (table.Rows[0].LocalOnlyError, table.Rows[1].LocalOnlyError));
    }

    [Fact]
    public void Tasks_say_how_many_of_their_clients_are_scored_and_what_they_are_scored_by()
    {
        var rounds = SampleRun.Rounds().Select(static round => round with
        {
            Manifest = round.Manifest with
            {
                Clients = [.. round.Manifest.Clients.Select(static client => client.Id switch
                {
                    "b" => client with { Score = null },
                    "c" => client with { Score = client.Score! with { Metric = "matthews", StandardError = null } },
                    _ => client,
                })],
            },
        }).ToList();

        Assert.Equal(
            """
            By task

            task  metric    clients   base  federated   s.e.  vs base  s.e.  majority
            ----  --------  -------  -----  ---------  -----  -------  ----  --------
            sst2  accuracy   1 of 2  0.500      0.650  0.060   +0.150     -     0.500
            trec  matthews        1  0.200      0.500      -   +0.300     -     0.220

            """.ReplaceLineEndings("\n"),
            FinalTable.Of(SampleRun.Plan, rounds, null).Tasks!.ToPlainText());
    }

    [Fact]
    public void Clients_of_one_task_are_taken_to_be_scored_on_the_same_rows_whatever_their_files_are_called()
    {
        var plan = SampleRun.Plan with
        {
            Clients = [.. SampleRun.Plan.Clients.Select(static client => client with
            {
                Data = client.Data with { Test = $"{client.Id}.test.jsonl" },
            })],
        };

        // As if a and b had one file.
        Assert.Equal(Math.Sqrt(0.12 * 0.12 + 0.06 * 0.06) / 3, FinalTable.Of(plan, SampleRun.Rounds(), null).Mean.StandardError!.Value, 9);
    }

    [Fact]
    public void Tasks_that_share_a_test_file_are_taken_to_move_together()
    {
        var plan = SampleRun.Plan with
        {
            Clients = [.. SampleRun.Plan.Clients.Select(static client => client with { Data = client.Data with { Test = "t.jsonl" } })],
        };

        Assert.Equal(0.06, FinalTable.Of(plan, SampleRun.Rounds(), null).Mean.StandardError!.Value, 9);
    }

    [Fact]
    public void Where_every_task_has_one_client_there_is_no_table_by_task()
    {
        var plan = SampleRun.Plan with { Clients = [.. SampleRun.Plan.Clients.Select(static client => client with { Task = client.Id })] };

        Assert.Null(FinalTable.Of(plan, SampleRun.Rounds(), null).Tasks);
        Assert.DoesNotContain("by task", FinalTable.Of(plan, SampleRun.Rounds(), null).ToPlainText(), StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void Without_a_local_only_run_the_difference_is_to_the_base()
    {
        var table = FinalTable.Of(SampleRun.Plan, SampleRun.Rounds(), null);

        Assert.Equal(["client", "task", "base", "federated", "s.e.", "vs base", "s.e.", "majority", "rows", "sent"], table.Header);
        Assert.Equal(0.2, table.Mean.Difference!.Value, 9);
    }

    [Fact]
    public void The_base_is_the_frozen_base_wherever_a_run_began()
    {
        var rounds = SampleRun.Rounds()
            .Select(static round => Scored(round, static client => client with { Base = new() { Reference = 0.1, StandardError = 0.02 } }));

        var row = FinalTable.Of(SampleRun.Plan, [.. rounds], null).Clients[0];

        Assert.Equal((0.1, 0.02, false), (row.Base!.Value, row.DifferenceError!.Value, row.IsNoise));
        Assert.Equal(0.55, row.Difference!.Value, 9);
    }

    [Fact]
    public void A_run_that_shares_nothing_is_not_called_federated() =>
        Assert.Contains("unshared", FinalTable.Of(SampleRun.Plan with { Sharing = Sharing.None }, SampleRun.Rounds(), null).Header);

    [Fact]
    public void A_client_that_always_answers_one_label_is_named()
    {
        var rounds = SampleRun.Rounds()
            .Select(static round => Scored(round, static client => client with { Always = client.MajorityShare == 0.5 ? null : "what" }));

        Assert.Equal("trec: always answers \"what\"", Assert.Single(FinalTable.Of(SampleRun.Plan, [.. rounds], null).Notes));
    }

    // Of a noise, b and c are inside two standard errors.
    private static Dictionary<string, ScoreComparison> Versus { get; } = new[] { ("a", 0.04), ("b", 0.08), ("c", 0.16) }
        .ToDictionary(static pair => pair.Item1, static pair => new ScoreComparison { Reference = 0.5, StandardError = pair.Item2 });

    [Fact]
    public void A_mean_is_shown_only_over_one_metric()
    {
        var rounds = SampleRun.Rounds().Select(static round => round with
        {
            Manifest = round.Manifest with
            {
                Clients = [.. round.Manifest.Clients.Select(
                    static client => client.Id == "c" ? client with { Score = client.Score! with { Metric = "perplexity" } } : client)],
            },
        }).ToList();

        var table = FinalTable.Of(SampleRun.Plan, rounds, null);
        Assert.Null(table.Mean.Federated);
        Assert.Contains("metric", table.Header);
        Assert.Null(RoundView.Of(rounds[3], SampleRun.Plan).MeanScore);
    }

    [Fact]
    public void Many_clients_with_trouble_leave_a_round_one_line_that_is_read()
    {
        var round = SampleRun.Round(3);
        var one = round.Manifest.Clients[0];
        var clients = Enumerable.Range(0, 300).Select(number => one with
        {
            Id = $"c{number}", Outcome = ClientOutcome.Failed, Reason = number < 200 ? "no such file" : $"reason {number}",
            ScoreReason = "no labels",
        });

        var line = RoundReporter.Line(
            RoundView.Of(round with { Manifest = round.Manifest with { Clients = [.. clients] } }, plan: null), 3);

        Assert.Contains("  failed: c0, c1, c2, c3, c4 and 195 more (no such file)  failed: c200 (reason 200)", line,
            StringComparison.Ordinal);
        Assert.Contains("  96 more clients with other reasons  not scored: c0, c1, c2, c3, c4 and 295 more (no labels)", line,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Tasks_that_are_kept_for_many_reasons_are_counted_where_they_are_not_named()
    {
        var kept = Enumerable.Range(0, 14)
            .ToDictionary(static task => $"t{task:00}", static task => task < 7 ? "one" : $"reason {task:00}");

        var line = RoundReporter.Line(RoundView.Of(SampleRun.Round(3), plan: null) with { Kept = kept }, 3);

        Assert.Contains("  state kept of t00, t01, t02, t03, t04, t05 and 1 more task (one)  state kept of t07 (reason 07)", line,
            StringComparison.Ordinal);
        Assert.EndsWith("  state kept of t10 (reason 10)  and of 3 more tasks", line, StringComparison.Ordinal);
    }

    [Fact]
    public void Notes_of_very_many_tasks_end_with_how_many_there_are_more()
    {
        var round = SampleRun.Round(3);
        var one = round.Manifest.Clients[0];
        var clients = Enumerable.Range(0, 300)
            .Select(number => one with { Id = $"c{number}", Score = one.Score! with { Always = $"label {number}" } });

        var notes = NoteLines.Of(
            OutcomeSoFar.Of([round with { Manifest = round.Manifest with { Clients = [.. clients] } }], plan: null));

        Assert.Equal((20, "281 more like these: metrics.jsonl says it of each client"), (notes.Count, notes[^1]));
    }

    [Fact]
    public void A_score_that_is_older_than_others_is_named()
    {
        List<RoundSummary> rounds = [.. SampleRun.Rounds().Select(static round => round.Manifest.Round < 3 ? round : round with
        {
            Manifest = round.Manifest with
            {
                Clients = [.. round.Manifest.Clients.Select(static client => client.Id == "b" ? client with { Score = null } : client)],
            },
        })];

        Assert.Equal("the last score is of round 2, of others of round 3 (b)",
            Assert.Single(FinalTable.Of(SampleRun.Plan, rounds, null).Notes));
    }

    [Fact]
    public void A_task_whose_clients_have_different_metrics_has_no_mean()
    {
        var round = SampleRun.Round(3);
        var clients = round.Manifest.Clients.Select(
            static client => client.Id == "a" ? client with { Score = client.Score! with { Metric = "perplexity" } } : client);

        var view = RoundView.Of(round with { Manifest = round.Manifest with { Clients = [.. clients] } }, SampleRun.Plan);

        Assert.Equal((null, null, null), (view.Tasks[0].Metric, view.Tasks[0].Score, view.Tasks[0].MajorityShare));
        Assert.NotNull(view.Tasks[1].Score);
    }

    [Fact]
    public void What_has_to_be_known_of_rows_is_one_line_for_a_task()
    {
        var rounds = SampleRun.Rounds().Select(static round => Scored(round, static client => client with
        {
            Frame = client.MajorityShare == 0.5 ? "0123" : null,
            Notes = client.MajorityShare == 0.5
                ? [new() { Kind = DataNoteKind.TrainedOn, Count = 3, Of = 40 }]
                : [new() { Kind = DataNoteKind.PromptCut, Count = 4, Of = 40, Longest = 90 }],
        })).ToList();

        Assert.Equal(
            [
                "sst2: 6 of 80 test rows are among the rows that the client trains on",
                "trec: 4 of 40 test rows lose the front of their prompt; with maxTokens: 90 none would",
            ],
            FinalTable.Of(SampleRun.Plan, rounds, null).Notes);
    }

    [Fact]
    public void Clients_of_a_task_that_choose_among_different_labels_are_named()
    {
        var round = SampleRun.Round(3);
        var clients = round.Manifest.Clients.Select(static (client, i) => client with { Score = client.Score! with { Frame = $"{i}" } });

        Assert.Equal(
            "sst2: its clients choose among different labels (a), so their scores cannot be compared; name the labels in the plan (tasks)",
            Assert.Single(
                NoteLines.Of(RoundView.Of(round with { Manifest = round.Manifest with { Clients = [.. clients] } }, SampleRun.Plan))));
    }

    [Fact]
    public void A_client_with_nothing_to_choose_stays_out_of_the_mean()
    {
        var rounds = SampleRun.Rounds()
            .Select(static round => Scored(round, static client => client.MajorityShare == 0.5 ? client : client with
            {
                Metric = "perplexity", Value = 900, Notes = [new() { Kind = DataNoteKind.AutoOneLabel, Count = 40, Of = 40 }],
            })).ToList();

        var table = FinalTable.Of(SampleRun.Plan, rounds, null);

        Assert.Equal(0.66, table.Mean.Federated!.Value, 9);
        Assert.Equal(0.66, RoundView.Of(rounds[3], SampleRun.Plan).MeanScore!.Value, 9);
        Assert.Contains("trec: scored by perplexity, not by accuracy: all rows have one label", table.Notes);
    }

    [Theory]
    [InlineData(0.5, "0.500")]
    [InlineData(99999, "99999.00")]
    [InlineData(384624.77, "3.85e+5")]
    [InlineData(1.7e308, "1.70e+308")]
    [InlineData(double.PositiveInfinity, "-")]
    public void A_large_number_does_not_widen_a_table(double score, string expected) => Assert.Equal(expected, Words.Score(score));

    [Fact]
    public void Json_is_valid_for_every_number() => Assert.Equal(
        """{"a":0.1,"b":null,"c":[null,1]}""",
        System.Text.Json.JsonSerializer.Serialize(
            new { A = 0.1, B = double.NaN, C = (double?[])[double.PositiveInfinity, 1] }, Json.Lines));

    private static RoundSummary Scored(RoundSummary round, Func<ClientScore, ClientScore> change) => round with
    {
        Manifest = round.Manifest with
        {
            Clients = [.. round.Manifest.Clients.Select(client => client with { Score = change(client.Score!) })],
        },
    };

    [Theory]
    [InlineData(0, "-")]
    [InlineData(2.08, "2.1 s")]
    [InlineData(185, "3 min 05 s")]
    [InlineData(7620, "2 h 07 min")]
    public void Times_are_read_at_a_glance(double seconds, string expected) => Assert.Equal(expected, Words.Seconds(seconds));

    private static async Task<(string Output, string Error)> FollowAsync(ScreenMode mode, params JobProgress[] snapshots)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        await new RoundReporter(new Screen(mode, output, error), SampleRun.Plan).FollowAsync(Stream(snapshots));
        return (output.ToString(), error.ToString());
    }

    private static async IAsyncEnumerable<RunSnapshot> Stream(params JobProgress[] snapshots)
    {
        foreach (var snapshot in snapshots)
        {
            await Task.Yield();
            yield return RunSnapshot.Of(snapshot);
        }
    }
}
