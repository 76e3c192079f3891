using System.Diagnostics;
using System.Globalization;
using Azure.Data.Tables;
using Azure.Identity;
using FedRLora.Abstractions;
using FedRLora.Silo;
using FedRLora.Silo.Storage;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Silos whose membership and reminders lie in tables of Azure Storage.</summary>
public sealed class TableMembershipTests(ITestOutputHelper log)
{
    [TableFact]
    public async Task Two_silos_outlive_their_tables_and_one_outlives_the_other()
    {
        using var tiny = new TinyFederation();
        await using var tables = await TableServer.StartAsync();
        var places = new[] { new SiloPlace(), new SiloPlace() };
        await using var one = Silo(places[0]);
        await using var two = Silo(places[1]);
        foreach (var silo in new[] { one, two })
            await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "a silo");
        var plan = TinyPlan.Write(tiny, 4, $"{TinyPlan.Client("a", "one", "here")}\n{TinyPlan.Client("b", "two", "here")}",
            more: "faults: [{kind: delay, clients: [a], delay: 3s}]");
        await using var calm = RunningProgram.Start(tiny.Root, "simulate", plan, "--out", "calm");
        string[] to = [.. places[0].To, .. places[1].To];
        await RunningProgram.RunAsync(tiny.Root, ["submit", plan, "--run", "stormy", .. to]);
        var account = new TableServiceClient(tables.ConnectionString);
        Assert.NotEmpty(Rows(account, tables.Location.Reminders));

        await account.DeleteTableAsync(tables.Location.Table);
        await account.DeleteTableAsync(tables.Location.Reminders);
        var deleted = Stopwatch.GetTimestamp();
        await one.UntilAsync(() => Rows(account, tables.Location.Table).Count(static row => row.ContainsKey("Status")) == 2, "the rows");
        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"two silos are in the table {Stopwatch.GetElapsedTime(deleted).TotalSeconds:F1} s after it was deleted"));
        await one.UntilAsync(() => account.Query().Any(table => table.Name == tables.Location.Reminders), "the reminders' table");
        one.Kill();
        await one.ExitAsync();
        await RunningProgram.RunAsync(tiny.Root, ["watch", "stormy", .. places[1].To]);

        Assert.True(await calm.ExitAsync() == 0, calm.Output);
        var expected = File.ReadAllBytes(Path.Combine(tiny.Root, "calm", "store", Keys.Current("tiny")));
        Assert.Equal(Abstractions.Messages.CurrentRound.Parse(expected, "calm"), TinyPlan.Committed(tiny, "stormy"));
        Assert.False(two.HasExited, two.Output);

        RunningProgram Silo(SiloPlace place) => RunningProgram.StartWith([tables.Variable], tiny.Root,
            ["silo", "--site", "here", "--cluster", $"{tables.Location}", "--store", "cluster", .. place.Own]);
    }

    [Fact]
    public void A_machine_without_an_identity_is_told_of_credentials_and_not_of_the_network()
    {
        var table = new ClusterLocation.AzureTable("https://account.table.core.windows.net", "silos");

        var told = TableMembership.Explained(table, "the identity of this machine", new CredentialUnavailableException("no identity here"));

        Assert.Equal($"the tables at {table} refuse the identity of this machine: no identity here", told.Message);
    }

    [Fact]
    public async Task Where_no_table_service_answers_that_is_said_in_time()
    {
        var nobody = new ClusterLocation.AzureTable($"http://127.0.0.1:{SiloPorts.Free().Silo}/devstoreaccount1", "silos");
        var connection = $"AccountName=devstoreaccount1;AccountKey=c2VzYW1l;TableEndpoint={nobody.Account};";
        var started = Stopwatch.GetTimestamp();

        var away = await Assert.ThrowsAsync<ClusterUnavailableException>(
            () => TableMembership.RequireAsync(nobody, Only(connection), default));

        Assert.Equal($"no table service answers at {nobody}; start one, or name another with --cluster", away.Message);
        Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(30), $"{Stopwatch.GetElapsedTime(started)}");
    }

    [TableFact]
    public async Task A_wrong_key_is_refused_by_name_and_not_repeated()
    {
        await using var tables = await TableServer.StartAsync();
        var connection = $"AccountName=devstoreaccount1;AccountKey=c2VzYW1l;TableEndpoint={tables.Endpoint};";

        var refused = await Assert.ThrowsAsync<ClusterUnavailableException>(
            () => TableMembership.RequireAsync(tables.Location, Only(connection), default));

        Assert.StartsWith($"the tables at {tables.Location} refuse the connection string in FEDRLORA_CLUSTER_CONNECTION_STRING: ",
            refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("c2VzYW1l", refused.Message, StringComparison.Ordinal);
        await TableMembership.RequireAsync(tables.Location, Only(tables.ConnectionString), default);
    }

    [Fact]
    public void Credentials_are_taken_from_the_first_place_that_has_them()
    {
        var table = new ClusterLocation.AzureTable("https://hub.table.core.windows.net", "silos");
        const string own = "DefaultEndpointsProtocol=https;AccountName=hub;AccountKey=c2VzYW1l;EndpointSuffix=core.windows.net";

        Assert.Contains("FEDRLORA_CLUSTER_CONNECTION_STRING", Found(("FEDRLORA_CLUSTER_CONNECTION_STRING", own)), StringComparison.Ordinal);
        Assert.Contains("FEDRLORA_CLUSTER_SAS", Found(("FEDRLORA_CLUSTER_SAS", "?sv=1&sig=x")), StringComparison.Ordinal);
        Assert.Contains("FEDRLORA_STORE_CONNECTION_STRING", Found(("FEDRLORA_STORE_CONNECTION_STRING", own)), StringComparison.Ordinal);
        var blobs = own.Replace("=hub;", "=blobs;", StringComparison.Ordinal);
        Assert.Contains("this machine's identity", Found(("FEDRLORA_STORE_CONNECTION_STRING", blobs)), StringComparison.Ordinal);
        Assert.Contains("this machine's identity", Found(), StringComparison.Ordinal);
        Assert.Contains("is for https://other.table.core.windows.net", Refused(
            ("FEDRLORA_CLUSTER_CONNECTION_STRING", own.Replace("=hub;", "=other;", StringComparison.Ordinal))), StringComparison.Ordinal);
        Assert.Contains("not a connection string", Refused(("FEDRLORA_CLUSTER_CONNECTION_STRING", "sesame")), StringComparison.Ordinal);
        Assert.Contains("not a shared access signature", Refused(("FEDRLORA_CLUSTER_SAS", "sesame")), StringComparison.Ordinal);
        var plain = new ClusterLocation.AzureTable("http://127.0.0.1:1/devstoreaccount1", "silos");
        Assert.Contains("needs credentials",
            Assert.Throws<BadInputException>(() => TableMembership.Find(plain, static _ => null)).Message, StringComparison.Ordinal);

        string Found(params (string Name, string Value)[] set) =>
            TableMembership.Find(table, name => set.FirstOrDefault(one => one.Name == name).Value).Credentials;
        string Refused(params (string Name, string Value)[] set) => Assert.Throws<BadInputException>(() => Found(set)).Message;
    }

    private static Func<string, string?> Only(string connection) =>
        name => name == StoreRole.Cluster.ConnectionStringVariable ? connection : null;

    private static List<TableEntity> Rows(TableServiceClient account, string table)
    {
        try
        {
            return [.. account.GetTableClient(table).Query<TableEntity>()];
        }
        catch (Azure.RequestFailedException e) when (e.Status == 404)
        {
            return [];
        }
    }
}
