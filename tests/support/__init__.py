"""What several tests share: servers, processes, files and small models; a file is named by what it holds."""
